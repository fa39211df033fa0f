from legato.outbox.backoff import Backoff


def test_waits_double_up_to_the_cap_and_half_of_each_is_chance() -> None:
    backoff = Backoff(0.5, 60.0, seed=1)
    for attempts, whole in ((1, 0.5), (2, 1.0), (5, 8.0), (8, 60.0), (10_000, 60.0)):
        waits = [backoff.after(attempts) for _ in range(200)]
        assert all(whole / 2 <= wait < whole for wait in waits)
        assert max(waits) - min(waits) > whole / 4


def test_the_same_seed_gives_the_same_waits() -> None:
    one, two, other = (Backoff(1.0, 60.0, seed) for seed in (7, 7, 8))
    waits = [one.after(1) for _ in range(5)]
    assert waits == [two.after(1) for _ in range(5)]
    assert waits != [other.after(1) for _ in range(5)]


def test_no_try_yet_counts_as_one() -> None:
    assert Backoff(2.0, 60.0, seed=3).after(0) < 2.0
