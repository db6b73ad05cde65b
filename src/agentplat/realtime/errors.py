"""What is refused about event streams."""

from agentplat.infra.errors import AppError, BadRequest, NotFound, Unauthenticated, Unavailable


class NoSuchExecution(NotFound):
    """No such execution"""

    code = "run_not_found"


class EventUnknown(BadRequest):
    """This number is beyond the events that there are."""

    code = "event_unknown"


class EventsGone(AppError):
    """The journal of this execution was retired: only its last state is left. Ask for a snapshot."""

    status = 410
    code = "events_gone"


class NotReadable(Unavailable):
    """The events can't be read right now. Try again."""


class PositionInvalid(BadRequest):
    """This is no event id of this stream."""

    code = "position_invalid"


class TooFarBehind(AppError):
    """More runs than can be resumed at once have gone on since. Begin anew, with a snapshot."""

    status = 410
    code = "too_far_behind"


class TicketInvalid(Unauthenticated):
    """This ticket is unknown, used or expired."""

    code = "ticket_invalid"


class TicketsAway(Unavailable):
    """Tickets can't be issued or redeemed right now."""
