"""Every error that backendpool raises on purpose.

::

    BackendPoolError
    ├── SpecError            an invalid GrpcBackendPool
    ├── SettingsError        an invalid flag, environment variable, option or service config
    ├── TargetError          an invalid target; also a ValueError
    ├── SourceError          the source of a client's endpoints failed
    │   └── LookasideError   a lookaside does not respond or returned an error
    ├── NoBackendError       no backend can take a call
    ├── LeadershipLost       this process is no longer the leader and must not write
    └── ClusterError         a request to the API server failed
        ├── Unreachable      no response: connection refused, cut or timed out
        ├── Malformed        a malformed response
        ├── Stalled          a watch that is open but delivers nothing
        ├── NotLeading       a write that was not sent, because this process is not the leader
        └── ApiError         a response with a status of 400 or more
            ├── Unauthorized      401
            ├── Forbidden         403
            ├── NotFound          404
            ├── Conflict          409
            ├── Gone              410, as an HTTP status or in a watch
            └── TooManyRequests   429
"""


class BackendPoolError(Exception):
    """Base class of all errors that backendpool raises on purpose."""


class SpecError(BackendPoolError):
    """An invalid resource, with the field and what to do.

    It occurs only if the CRD in the cluster is older or newer than this program.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class SettingsError(BackendPoolError):
    """An invalid flag, environment variable, option or service config; the message names it."""


class TargetError(BackendPoolError, ValueError):
    """An invalid target; the message says what to write."""


class SourceError(BackendPoolError):
    """The source of a client's endpoints failed; the message says why."""


class LookasideError(SourceError):
    """A lookaside does not respond or returned an error: the name of the gRPC ``status``, and a message."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class NoBackendError(BackendPoolError):
    """No backend can take a call; the message names the pool and the reason."""


class LeadershipLost(BackendPoolError):
    """This process is no longer the leader. It exits, and restarts as a standby."""


class ClusterError(BackendPoolError):
    """A request to the API server failed."""


class Unreachable(ClusterError):
    """No response from the API server: the connection was refused, cut or timed out."""


class Malformed(ClusterError):
    """A malformed response: it was truncated, or not written by the API server."""


class Stalled(ClusterError):
    """A watch is open but delivers nothing: no bookmarks, or nothing of what a list shows."""


class NotLeading(ClusterError):
    """A write was not sent: this process is not the leader, or might not be when the write arrives."""


class ApiError(ClusterError):
    """An error response of the API server: its HTTP ``status``, ``reason`` and message.

    ``retry_after`` is the delay in seconds that the server asked for, if any (RFC 9110, section 10.2.3).
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """401: the token was rejected."""


class Forbidden(ApiError):
    """403: a permission is missing."""


class NotFound(ApiError):
    """404: no such object or kind."""


class Conflict(ApiError):
    """409: the object exists already or has another version."""


class Gone(ApiError):
    """410: the resource version is too old; list again."""


class TooManyRequests(ApiError):
    """429: the server sheds load, or a disruption budget forbids an eviction."""
