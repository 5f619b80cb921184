"""Told once, and again only after it was well."""

from datetime import timedelta

from clawstead_keeper.episodes import Episodes


def test_an_episode_is_told_once_and_the_next_again() -> None:
    episodes = Episodes()
    told = [episodes.begins("a", wrong=wrong, now=0) for wrong in (False, True, True, False, True)]
    assert told == [False, True, False, False, True]


def test_names_have_episodes_of_their_own() -> None:
    episodes = Episodes()
    assert episodes.begins("a", wrong=True, now=0)
    assert episodes.begins("b", wrong=True, now=0)


def test_what_passes_soon_is_not_told() -> None:
    episodes = Episodes(patience=timedelta(seconds=30))
    told = [
        episodes.begins("a", wrong=wrong, now=now) for now, wrong in ((0, True), (20, False), (25, True), (50, True))
    ]
    assert not any(told)
    assert episodes.begins("a", wrong=True, now=55)
