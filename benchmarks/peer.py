# SPDX-License-Identifier: BSD-3-Clause
"""Python's side of the table: reads "WHAT TIMES" lines, answers each with seconds.

Every measurement makes its own pool of forked workers, outside of the measured time unless starting
it is what is measured.
"""

import concurrent.futures
import multiprocessing
import multiprocessing.pool
import sys
import time

WORKERS = 2
fork = multiprocessing.get_context("fork")


def nothing():
    pass


def same(x):
    return x


def apply_async(times):
    with fork.Pool(WORKERS) as pool:
        pool.apply(nothing)
        begin = time.perf_counter()
        results = [pool.apply_async(nothing) for _ in range(times)]
        for result in results:
            result.get()
        return time.perf_counter() - begin


def map_one(times):
    with fork.Pool(WORKERS) as pool:
        pool.apply(nothing)
        begin = time.perf_counter()
        results = pool.map(same, range(times), chunksize=1)
        taken = time.perf_counter() - begin
        assert len(results) == times
        return taken


def map_default(times):
    with fork.Pool(WORKERS) as pool:
        pool.apply(nothing)
        begin = time.perf_counter()
        results = pool.map(same, range(times))
        taken = time.perf_counter() - begin
        assert len(results) == times
        return taken


def submit(times):
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=fork) as executor:
        executor.submit(nothing).result()
        begin = time.perf_counter()
        futures = [executor.submit(nothing) for _ in range(times)]
        for future in futures:
            future.result()
        return time.perf_counter() - begin


def thread_map_one(times):
    with multiprocessing.pool.ThreadPool(WORKERS) as pool:
        pool.apply(nothing)
        begin = time.perf_counter()
        results = pool.map(same, range(times), chunksize=1)
        taken = time.perf_counter() - begin
        assert len(results) == times
        return taken


def thread_apply_async(times):
    with multiprocessing.pool.ThreadPool(WORKERS) as pool:
        pool.apply(nothing)
        begin = time.perf_counter()
        results = [pool.apply_async(nothing) for _ in range(times)]
        for result in results:
            result.get()
        return time.perf_counter() - begin


def round_trip(times):
    with fork.Pool(1) as pool:
        pool.apply(nothing)
        begin = time.perf_counter()
        for _ in range(times):
            pool.apply(nothing)
        return (time.perf_counter() - begin) / times


def queue_of(item, times):
    queue = fork.Queue()
    done = fork.Event()

    def consume():
        for _ in range(2):
            for _ in range(times):
                queue.get()
            done.set()

    consumer = fork.Process(target=consume)
    consumer.start()
    taken = 0
    for _ in range(2):  # the first is not measured
        done.clear()
        begin = time.perf_counter()
        for _ in range(times):
            queue.put(item)
        done.wait()
        taken = time.perf_counter() - begin
    consumer.join()
    return taken


def queue_ints(times):
    return queue_of(1, times)


def queue_strings(times):
    return queue_of("x" * (1 << 20), times)


def lock(times):
    one = fork.Lock()
    begin = time.perf_counter()
    for _ in range(times):
        one.acquire()
        one.release()
    return time.perf_counter() - begin


def by_two(work, times):
    """Until two processes have done it, each so many times."""
    here, there = fork.Pipe()

    def other():
        for _ in range(2):
            there.recv()
            work(times)
            there.send(None)

    process = fork.Process(target=other)
    process.start()
    taken = 0
    for _ in range(2):  # the first is not measured
        begin = time.perf_counter()
        here.send(None)
        work(times)
        here.recv()
        taken = time.perf_counter() - begin
    process.join()
    return taken


def lock_by_two(times):
    one = fork.Lock()

    def work(times):
        for _ in range(times):
            one.acquire()
            one.release()

    return by_two(work, times)


def value_by_two(times):
    value = fork.Value("l")

    def work(times):
        for _ in range(times):
            with value.get_lock():
                value.value += 1

    taken = by_two(work, times)
    assert value.value == 4 * times
    return taken


def start_and_join(method, times):
    context = multiprocessing.get_context(method)
    taken = 0
    for count in (1, times):  # the first starts the fork server
        begin = time.perf_counter()
        for _ in range(count):
            process = context.Process(target=nothing)
            process.start()
            process.join()
        taken = time.perf_counter() - begin
    return taken


def process_forkserver(times):
    return start_and_join("forkserver", times)


def process_spawn(times):
    return start_and_join("spawn", times)


def fresh_pool(workers):
    begin = time.perf_counter()
    pool = fork.Pool(workers)
    pool.apply(nothing)
    taken = time.perf_counter() - begin
    pool.terminate()
    pool.join()
    return taken


def main():
    for line in sys.stdin:
        what, times = line.split()
        if what == "version":
            answer = sys.version.split()[0]
        else:
            try:
                answer = repr(globals()[what](int(times)))
            except Exception as error:  # told to the benchmark, which stops
                answer = repr(error)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
