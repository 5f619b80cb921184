"""The bus as data: what would hurt if someone changed it in passing."""

from clawstead_shared.streams import API, CONSUMERS, STATE_STREAM, STREAMS
from clawstead_shared.subjects import Topic
from clawstead_shared.topology import consumer_config, stream_config

STATE = next(stream for stream in STREAMS if stream.name == STATE_STREAM)


def test_the_state_stream_never_forgets_the_newest_state() -> None:
    config = stream_config(STATE)
    assert config.max_age == 0, "age would expire the state of a living instance"
    assert config.discard == "new", "a full stream must refuse, not drop"
    assert config.deny_delete
    assert config.allow_direct


def test_consumers_replay_everything_and_give_up_some_day() -> None:
    for consumer in CONSUMERS:
        config = consumer_config(consumer)
        assert config.deliver_policy == "all"
        assert config.ack_policy == "explicit"
        assert 1 < (config.max_deliver or 0) < 20
        assert len(consumer.retry_delays) < consumer.max_deliver


def test_the_projector_sees_every_topic() -> None:
    assert set(API.topics) == set(Topic)
