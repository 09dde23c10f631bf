"""Every error of the API as 100ms words it: `{"code", "message", "details"?}`, where `code` is the HTTP status.

Before it: whatever a route or the framework raised. After it: the answer. An error that nobody raised on purpose shows no
detail outside.
"""

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from isotape.errors import IsotapeError
from isotape.logs import logger
from isotape.wire import rest

# One complaint a field is enough, and a body of thousands of wrong fields gets no answer of thousands.
_MAX_DETAILS = 10

_log = logger(component="api")


def install(app: FastAPI) -> None:
    app.add_exception_handler(IsotapeError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_input)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_a_bug)


def answer(status: int, message: str, details: Sequence[str] = ()) -> JSONResponse:
    return JSONResponse(rest.error(status, message, details), status_code=status)


async def _of_ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IsotapeError)
    return answer(error.status, error.message)


async def _of_input(_request: Request, error: Exception) -> JSONResponse:
    """The wording of 100ms for a body that is missing, is no JSON, or is not what the call takes."""
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        position = problems[0]["loc"][-1]
        return answer(400, f"request body contains badly-formed JSON (at position {position})")
    if any(problem["type"] == "missing" and problem["loc"] == ("body",) for problem in problems):
        return answer(400, "request body must not be empty")
    details = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in problems]
    return answer(400, "invalid input", details[:_MAX_DETAILS])


async def _of_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = answer(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _of_a_bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed", method=request.method, path=request.url.path, error=repr(error))
    return answer(500, "internal error")
