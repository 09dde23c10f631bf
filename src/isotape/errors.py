"""Every error that isotape raises on purpose.

    IsotapeError                     500   base; `message` names the object first
    ├── BadRequest                   400   the caller can mend it
    ├── Unauthenticated              401   no valid token
    ├── Forbidden                    403   valid token, not allowed
    ├── NotFound                     404   no such object in this workspace
    ├── Conflict                     409   the object's state forbids it
    ├── FolderInUse                  409   another process works on the data folder
    ├── PayloadTooLarge              413   over a stated limit
    ├── Misdirected                  421   meant for a server that is gone; the client is told to begin anew
    ├── TooManyRequests              429   retry later
    ├── Unavailable                  503   this node cannot now; retry later
    ├── EngineError                  500   the media core refused or failed; carries its code
    ├── JournalError                 500   a journal is missing, torn or unreadable
    ├── RenderError                  500   a plan could not become a file
    ├── VerifyError                  500   a file does not hold what its plan says
    └── StorageError                 500   a store refused, lied or is away; retried by the job
        └── KeyTaken                 500   other bytes are stored under that key; take another

`status` is the HTTP status and the JSON-RPC code alike. `retry` says whether the same call may succeed later.
"""


class IsotapeError(Exception):
    """Base of the tree. `message` is shown to the caller: it names the object and says what to do."""

    status = 500
    retry = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(IsotapeError):
    status = 400


class Unauthenticated(IsotapeError):
    status = 401


class Forbidden(IsotapeError):
    status = 403


class NotFound(IsotapeError):
    status = 404


class Conflict(IsotapeError):
    status = 409


class FolderInUse(IsotapeError):
    status = 409


class PayloadTooLarge(IsotapeError):
    status = 413


class Misdirected(IsotapeError):
    status = 421


class TooManyRequests(IsotapeError):
    status = 429
    retry = True


class Unavailable(IsotapeError):
    status = 503
    retry = True


class EngineError(IsotapeError):
    """The media core answered a command with an error; `status` is the core's own code."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class JournalError(IsotapeError):
    pass


class RenderError(IsotapeError):
    pass


class VerifyError(IsotapeError):
    pass


class StorageError(IsotapeError):
    retry = True


class KeyTaken(StorageError):
    """Other bytes are stored under the key; the same call can never succeed."""

    retry = False
