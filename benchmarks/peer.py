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
