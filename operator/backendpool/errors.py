"""Every error that backendpool raises on purpose.

::

    BackendPoolError
    ├── SpecError            a GrpcBackendPool that cannot be acted on
    ├── SettingsError        a flag, an environment variable or a service config that cannot be used
    ├── TargetError          a target that names nothing to connect to; a ValueError as well
    ├── SourceError          what a client's endpoints come from cannot tell them
    │   └── LookasideError   a lookaside does not answer, or refuses
    ├── NoBackendError       a call, and no backend that could take it
    ├── LeadershipLost       this process was the leader, and must not write any more
    └── ClusterError         the API server could not do what was asked
        ├── Unreachable      no answer: connection refused, cut or timed out
        ├── Malformed        an answer that is not to be understood
        ├── Stalled          a watch that is open, and brings nothing
        ├── NotLeading       a write that was not sent, for this process does not lead
        └── ApiError         an answer with a status of 400 or more
            ├── Unauthorized      401
            ├── Forbidden         403
            ├── NotFound          404
            ├── Conflict          409
            ├── Gone              410, as an HTTP status or inside a watch
            └── TooManyRequests   429
"""


class BackendPoolError(Exception):
    """The root: catch this to catch all that backendpool raises on purpose."""


class SpecError(BackendPoolError):
    """A resource that the schema should have refused, with the field and what to do.

    It can only be met where the CRD in the cluster is older or newer than this program.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class SettingsError(BackendPoolError):
    """A flag, an environment variable or a service config that cannot be used; the message names it."""


class TargetError(BackendPoolError, ValueError):
    """A target that names nothing to connect to; the message says what to write."""


class SourceError(BackendPoolError):
    """What a client's endpoints come from cannot tell them at the moment; the message says why."""


class LookasideError(SourceError):
    """A lookaside that does not answer, or refuses: the gRPC ``status`` by its name, and a sentence."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class NoBackendError(BackendPoolError):
    """No backend could take a call; the message says whose backends, and why."""


class LeadershipLost(BackendPoolError):
    """This process was the leader and is not any more; it ends, and comes back as a standby."""


class ClusterError(BackendPoolError):
    """The API server could not do what was asked."""


class Unreachable(ClusterError):
    """No answer from the API server: refused, cut or timed out."""


class Malformed(ClusterError):
    """An answer that the API server cannot have meant: it was cut, or something between us and it wrote it."""


class Stalled(ClusterError):
    """A watch that is open and brings nothing: not even bookmarks, or nothing of what a list shows."""


class NotLeading(ClusterError):
    """A write that was not sent: this process does not lead, or could not be sure to lead until it arrives."""


class ApiError(ClusterError):
    """The API server's refusal: its HTTP ``status``, its ``reason`` and its sentence.

    ``retry_after`` is the server's wish in seconds, where it sent one (RFC 9110, section 10.2.3).
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """401: the token was not accepted."""


class Forbidden(ApiError):
    """403: the identity is known, and lacks the right."""


class NotFound(ApiError):
    """404: no such object, or no such kind."""


class Conflict(ApiError):
    """409: the object is not what the writer thought that it was."""


class Gone(ApiError):
    """410: the resource version is too old to continue from; list again."""


class TooManyRequests(ApiError):
    """429: the server sheds load, or a disruption budget says no."""
