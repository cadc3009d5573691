import time

from trl_ext.session_ppo.watchdog import STUCK, Watchdog


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_process_without_a_sign_of_life_says_what_it_did_and_ends():
    told, ended = [], []
    with Watchdog(0.1, 3, told.append, ended.append) as watchdog:
        watchdog.beat("step 7, learning")
        assert wait_for(lambda: ended == [STUCK])
    assert "process 3 gave no sign of life for 0 s (step 7, learning)" in told[0]


def test_beats_keep_it_quiet_and_so_does_the_end():
    told, ended = [], []
    with Watchdog(0.5, 0, told.append, ended.append) as watchdog:
        for _ in range(10):
            watchdog.beat("working")
            time.sleep(0.08)
    time.sleep(0.1)
    assert (told, ended) == ([], [])


def test_a_pulse_keeps_it_quiet_and_what_is_done_is_still_known():
    told, ended = [], []
    with Watchdog(0.5, 0, told.append, ended.append) as watchdog:
        watchdog.beat("step 3, held-out queries")
        for _ in range(10):
            watchdog.pulse()
            time.sleep(0.08)
        assert ended == []
        assert wait_for(lambda: ended == [STUCK])
    assert "(step 3, held-out queries)" in told[0]
