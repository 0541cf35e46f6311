from __future__ import annotations

import os
import threading
import time
from functools import partial

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from embedmerge.merging.parallel import Workers


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_jobs_whichever_ends_first(threads):
    def job(number):
        time.sleep(0.002 * (number % 3 == 0))
        return number

    with Workers(threads) as workers:
        assert list(workers.in_order(partial(job, number) for number in range(40))) == list(range(40))


def test_as_many_threads_as_the_process_may_use_unless_told():
    with Workers() as workers:
        assert workers.threads == len(os.sched_getaffinity(0))
    with Workers(3) as workers:
        assert workers.threads == 3


def test_several_jobs_are_in_work_at_once():
    meeting = threading.Barrier(3, timeout=20)
    with Workers(3) as workers:
        assert sorted(workers.in_order([meeting.wait] * 3)) == [0, 1, 2]


@pytest.mark.parametrize("threads", [1, 4])
def test_only_a_few_jobs_are_taken_before_their_results_are_asked_for(threads):
    taken = []

    def jobs():
        for number in range(100):
            taken.append(number)
            yield partial(int, number)

    with Workers(threads) as workers:
        results = workers.in_order(jobs())
        assert not taken
        for given, _ in enumerate(results, start=1):
            assert len(taken) - given <= threads + 1


def test_an_error_reaches_the_caller_and_the_workers_go_on():
    def fail():
        raise ValueError("this slice cannot be read")

    with Workers(2) as workers:
        results = workers.in_order([partial(int, 1), fail, partial(int, 2)])
        assert next(results) == 1
        with pytest.raises(ValueError, match="this slice cannot be read"):
            list(results)
        assert list(workers.in_order([partial(int, 3)])) == [3]


def test_after_an_error_no_further_jobs_are_taken():
    taken = []

    def jobs():
        for number in range(100):
            taken.append(number)
            yield partial(divmod, 1, 0) if number == 3 else partial(divmod, 1, 1)

    with Workers(2) as workers, pytest.raises(ZeroDivisionError):
        list(workers.in_order(jobs()))
    assert len(taken) < 10


def test_an_error_while_the_jobs_are_made_reaches_the_caller():
    def jobs():
        yield partial(int, 1)
        raise OSError("the file is gone")

    with Workers(2) as workers, pytest.raises(OSError, match="the file is gone"):
        list(workers.in_order(jobs()))


def test_no_thread_is_left_behind():
    before = threading.active_count()
    with Workers(3) as workers:
        assert sum(workers.in_order([partial(int, 1)] * 10)) == 10
    assert threading.active_count() == before


def test_blas_keeps_to_one_thread_and_has_its_own_back_afterwards():
    np.ones((2, 2)) @ np.ones((2, 2))  # BLAS is loaded
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        assert 2 in before
        with Workers(2) as workers:
            assert set(blas_threads()) == {1}
            assert set(next(workers.in_order([blas_threads]))) == {1}
        assert blas_threads() == before


def test_blas_has_its_threads_back_after_an_error_too():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(KeyError), Workers(2):
            raise KeyError
        assert blas_threads() == before
