"""Templates as 100ms takes them: what a role and a recording configuration may say, and what stands in for what is not said.

Before it: api/templates.py with the caller's JSON. After it: the template row, complete, so that no reader has to know a
default. Ranges are not 100ms' (a server of your own may send more); types and names are.
"""

from collections.abc import Collection, Mapping
from typing import Any

from isotape.errors import BadRequest
from isotape.model import Json

# 100ms' defaults for what a role leaves out.
_PUBLISH: Mapping[str, Json] = {
    "audio": {"bitRate": 32, "codec": "opus"},
    "video": {"bitRate": 256, "codec": "vp8", "frameRate": 25, "width": 320, "height": 180},
    "screen": {"bitRate": 1024, "codec": "vp8", "frameRate": 10, "width": 1280, "height": 720},
}
_ALLOWED = tuple(_PUBLISH)
_DEGRADATION = {"packetLossThreshold": 50, "degradeGracePeriodSeconds": 1, "recoverGracePeriodSeconds": 4}
_MAX_SUBSCRIBE_KBPS = 3200
_PERMISSIONS = (
    "endRoom",
    "removeOthers",
    "mute",
    "unmute",
    "changeRole",
    "sendRoomState",
    "pollRead",
    "pollWrite",
    "browserRecording",
    "rtmpStreaming",
    "hlsStreaming",
)
_NORMAL_PRIORITY = 5

# The recording modes of 100ms that isotape does not have; each would need a browser or a transcoder.
_FOREIGN_MODES = (
    ("trackRecording", "enabled"),
    ("compositeRecording.browserComposite", "autoStart"),
    ("compositeRecording.browserComposite", "enabled"),
    ("compositeRecording.customComposite", "enabled"),
    ("thumbnails", "enabled"),
)


def default_roles() -> dict[str, Json]:
    """The roles of a template that names none: a host who may do everything, a guest who may publish."""
    names = ("host", "guest")
    video = {"bitRate": 1200, "frameRate": 30, "width": 1280, "height": 720}
    screen = {"bitRate": 2500, "frameRate": 15, "width": 1920, "height": 1080}
    publish = {"audio": {"bitRate": 64}, "video": video, "screen": screen}
    host = {"publishParams": publish, "priority": 1, "permissions": dict.fromkeys(_PERMISSIONS[:8], True)}
    guest = {"publishParams": publish, "permissions": {"pollRead": True}}
    return {name: role(name, body, names) for name, body in zip(names, (host, guest), strict=True)}


def roles(bodies: Any) -> dict[str, Json]:
    """The roles of a template body, each complete; the defaults when there are none."""
    if not bodies:
        return default_roles()
    if not isinstance(bodies, Mapping):
        raise BadRequest("Invalid body param: roles is not an object")
    return {name: role(name, body, tuple(bodies)) for name, body in bodies.items()}


def role(name: str, body: Any, role_names: Collection[str]) -> Json:
    """One role with its defaults filled in. Without `subscribeToRoles` it receives every role of the template."""
    given = _object(body, f"role {name}")
    publish = _object(given.get("publishParams"), f"role {name}: publishParams")
    subscribe = _object(given.get("subscribeParams"), f"role {name}: subscribeParams")
    permissions = _object(given.get("permissions"), f"role {name}: permissions")
    return {
        "name": name,
        "publishParams": _publish_params(name, publish),
        "subscribeParams": {
            "subscribeToRoles": list(
                _names(subscribe.get("subscribeToRoles", role_names), f"role {name}: subscribeToRoles")
            ),
            "maxSubsBitRate": _number(
                subscribe.get("maxSubsBitRate", _MAX_SUBSCRIBE_KBPS), f"role {name}: maxSubsBitRate"
            ),
            "subscribeDegradation": {
                **_DEGRADATION,
                **_object(subscribe.get("subscribeDegradation"), "subscribeDegradation"),
            },
        },
        "permissions": {key: True for key in _PERMISSIONS if permissions.get(key) is True},
        "priority": _number(given.get("priority", _NORMAL_PRIORITY), f"role {name}: priority"),
        "maxPeerCount": given.get("maxPeerCount", 0),
    }


def _publish_params(name: str, given: Json) -> Json:
    # An empty body gets everything; a body that says what it publishes gets that and no more, an empty list nothing.
    named = given.get("allowed")
    implied = [source for source in _ALLOWED if source in given] if given else _ALLOWED
    allowed = _names(implied if named is None else named, f"role {name}: allowed")
    params: dict[str, Any] = {"allowed": list(allowed)}
    for source, defaults in _PUBLISH.items():
        limits = _object(given.get(source), f"role {name}: {source}")
        for key, value in limits.items():
            if isinstance(defaults.get(key), int):
                _number(value, f"role {name}: {source}.{key}")
        params[source] = {**defaults, **limits}
    return {**params, **({"simulcast": given["simulcast"]} if given.get("simulcast") else {})}


def recording_configs(bodies: Any, role_names: Collection[str]) -> tuple[Json, ...]:
    """The recording configuration of a template: an array of at most one object."""
    if not isinstance(bodies, list):
        raise BadRequest("Invalid body: recordings is an array of one recording configuration")
    if len(bodies) > 1:
        raise BadRequest("Invalid body: only one recordingConfig object is allowed")
    return tuple(_recording_config(_object(body, "recordingConfig"), role_names) for body in bodies)


def _recording_config(given: Json, role_names: Collection[str]) -> Json:
    for key in ("name", "role"):
        if not isinstance(given.get(key), str) or not given[key]:
            raise BadRequest(f"Invalid body param: {key} is required")
    if given["role"] not in role_names:
        raise BadRequest(f"Invalid body param: role {given['role']} is not a role of this template")
    for key in ("maxDuration", "presignDuration"):
        if given.get(key) is not None:
            _number(given[key], key)
    stream = _object(given.get("streamRecording"), "streamRecording")
    _boolean(stream.get("enabled"), "streamRecording.enabled")
    for key in ("width", "height"):
        if stream.get(key) is not None:
            _number(stream[key], f"streamRecording.{key}")
    _refuse_foreign_modes(given)
    return given


def _refuse_foreign_modes(given: Json) -> None:
    for path, switch in _FOREIGN_MODES:
        place: Any = given
        for key in path.split("."):
            place = _object(place.get(key), path)
        if place.get(switch) is True:
            raise BadRequest(
                f"Invalid body param: {path}.{switch} is not available; isotape makes stream recordings only"
            )


def _object(value: Any, what: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadRequest(f"Invalid body param: {what} is not an object")
    return value


def _number(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest(f"Invalid body param: {what} is not a positive whole number")
    return value


def _boolean(value: Any, what: str) -> None:
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"Invalid body param: {what} is not true or false")


def _names(value: Any, what: str) -> Collection[str]:
    if isinstance(value, str) or not isinstance(value, Collection) or not all(isinstance(name, str) for name in value):
        raise BadRequest(f"Invalid body param: {what} is not an array of names")
    return value
