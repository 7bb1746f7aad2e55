"""Has a conversation over the wire of the platform that this host replaces, as a client of that platform would.

    TOKEN=… python older_wire.py v1|v2 ws://127.0.0.1:8080/ws "hello"

Written from the facts about that wire alone, with a stock library. Exits with 1 and a sentence where the host does not
hold to them; else prints, as JSON, what it was told.
"""

import asyncio
import base64
import json
import os
import sys
import time

import websockets

# That platform's clients give up what is silent for longer.
ANSWER_WITHIN = 3
EVENT_WITHIN = 15
# Time is counted in these.
BEAT = 0.05
PAYLOADS = {
    "agent_started": ["status", "message"],
    "agent_thinking": ["reasoning", "status"],
    "tool_executing": ["tool_name", "parameters", "status"],
    "tool_completed": ["tool_name", "result", "results", "status"],
    "agent_completed": ["status", "result", "message"],
    "agent_error": ["status", "error_message"],
}


class Broken(Exception):
    """The host does not hold to the facts."""


def hold(fact: bool, objection: str) -> None:
    if not fact:
        raise Broken(objection)


class Client:
    def __init__(self, socket) -> None:
        self.socket = socket

    async def say(self, frame) -> None:
        await self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def hear(self, within: float) -> dict:
        """The next frame. Pings are answered, and are no answer themselves.

        The time is what this process was awake for: where the machine stalls, it is nobody's silence.
        """
        left = within
        while True:
            heard = asyncio.ensure_future(self.socket.recv())
            while not heard.done():
                if left <= 0:
                    heard.cancel()
                    raise Broken(f"silence for {within} s")
                began = time.monotonic()
                await asyncio.wait({heard}, timeout=BEAT)
                left -= min(time.monotonic() - began, 2 * BEAT)
            line = heard.result()
            frame = json.loads(line)
            hold(isinstance(frame, dict) and "type" in frame or "jsonrpc" in frame, f"no frame: {line}")
            if frame.get("type") != "ping":
                return frame
            await self.say({"type": "pong", "timestamp": time.time()})

    async def answer(self, frame, kind: str) -> dict:
        await self.say(frame)
        heard = await self.hear(ANSWER_WITHIN)
        hold(heard.get("type") == kind, f"{frame} is answered by {heard}, not by {kind}")
        return heard


def event_of(frame: dict):
    """The event in a frame, wherever it is: as such, or wrapped; `None`: it is none."""
    inner = frame
    if frame["type"] == "system_message":
        inner = frame.get("data") or {}
    kind = inner.get("event") or inner.get("type")
    if kind not in PAYLOADS:
        return None
    return kind, inner.get("payload") or inner.get("data") or {}


def is_system(frame: dict, event: str) -> bool:
    return frame["type"] == event or (frame["type"] == "system_message" and frame["data"].get("event") == event)


def missing_of(frames: list) -> list:
    told = [frame["data"] for frame in frames if is_system(frame, "service_info")]
    return told[-1]["missing_dependencies"] if told else []


async def greeted_v1(client: Client) -> list:
    frames = [await client.hear(1)]
    if is_system(frames[0], "service_info"):
        hold("fallback_active" in frames[0]["data"], f"no fallback_active in {frames[0]}")
        frames.append(await client.hear(ANSWER_WITHIN))
    welcome = frames[-1]
    hold(is_system(welcome, "connection_established"), f"not welcomed: {welcome}")
    for field in ["connection_id", "user_id", "server_time", "environment", "startup_complete"]:
        hold(field in welcome["data"], f"no {field} in {welcome}")
    hold(welcome["data"]["connection_ready"] is True, f"not ready: {welcome}")
    config = welcome["data"]["config"]
    hold(config["heartbeat_interval"] <= 25 and config["max_message_size"] >= 8192, f"wrong limits: {config}")
    return frames


async def shaken_v2(client: Client) -> tuple:
    given = await client.hear(1)
    hold(given["type"] == "handshake_response", f"begun with {given}")
    for field in ["thread_id", "run_id", "request_id", "session_token", "timestamp", "message"]:
        hold(bool(given.get(field)), f"no {field} in {given}")
    acknowledged = {"type": "handshake_acknowledged", "thread_id": given["thread_id"], "timestamp": time.time()}
    await client.say(acknowledged)
    complete = await client.hear(2)
    hold(complete["type"] == "handshake_complete", f"acknowledged by {complete}")
    established = await client.hear(2)
    hold(is_system(established, "connection_established"), f"not established: {established}")
    hold(bool(established["data"]["user_id"]), f"nobody's: {established}")
    # What is missing, if anything is, comes before the first answer.
    await client.say({"type": "heartbeat"})
    frames = []
    while True:
        frames.append(await client.hear(ANSWER_WITHIN))
        if frames[-1]["type"] == "heartbeat_ack":
            return given, frames


async def run(client: Client, frame: dict) -> dict:
    """Asks, and follows the run to its end."""
    await client.say(frame)
    ids, kinds = None, []
    within = ANSWER_WITHIN
    while True:
        heard = await client.hear(within)
        within = EVENT_WITHIN
        hold(heard["type"] != "error_message", f"refused: {heard}")
        if heard["type"] == "ack":
            ids = (heard["run_id"], heard["thread_id"])
        found = event_of(heard)
        if found is None:
            continue
        kind, payload = found
        lacks = [name for name in PAYLOADS[kind] if name not in payload]
        hold(not lacks, f"{kind} lacks {lacks}: {heard}")
        hold(ids == (heard["run_id"], heard["thread_id"]), f"not of the run {ids}: {heard}")
        kinds.append(kind)
        if kind == "agent_completed":
            hold(kinds[0] == "agent_started" and kinds.count("agent_started") == 1, f"out of order: {kinds}")
            hold(bool(heard["final_response"]), f"nothing to read: {heard}")
            return {
                "agent": heard["agent_name"],
                "status": payload["status"],
                "answer": heard["final_response"],
                "thread": ids[1],
                "kinds": kinds,
            }


async def others(client: Client) -> None:
    """What is no message is answered all the same."""
    pong = await client.answer({"type": "ping"}, "pong")
    hold("user_id" in pong["data"], f"no user_id in {pong}")
    await client.answer({"type": "heartbeat"}, "heartbeat_ack")
    ack = await client.answer({"type": "no_such_type"}, "ack")
    hold(ack["received_type"] == "no_such_type" and ack["status"] == "acknowledged", f"no such ack: {ack}")
    await client.answer({"type": "user_message", "payload": {"content": ""}}, "error_message")
    wrong = await client.answer("{not json", "error_message")
    hold(wrong["error_code"] == "FORMAT_ERROR", f"not FORMAT_ERROR: {wrong}")
    hold(wrong["error_message"].startswith("Invalid JSON"), f"not by its name: {wrong}")


async def converse_v1(url: str, token: str, text: str) -> dict:
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    async with websockets.connect(url, subprotocols=["jwt-auth", f"jwt.{encoded}"]) as socket:
        hold(socket.subprotocol == "jwt-auth", f"answered with {socket.subprotocol}")
        client = Client(socket)
        greeting = await greeted_v1(client)
        first = await run(client, {"type": "user_message", "payload": {"content": text}})
        # The other forms, nested and flat; the thread goes on.
        form = {"type": "start_agent", "payload": {"user_request": text, "thread_id": first["thread"]}}
        second = await run(client, form)
        hold(second["thread"] == first["thread"], f"another thread: {first} {second}")
        third = await run(client, {"type": "chat", "message": text})
        await others(client)
    hold(socket.close_code == 1000, f"closed with {socket.close_code}")
    return {"missing": missing_of(greeting), "runs": [first, second, third]}


async def converse_v2(url: str, token: str, text: str) -> dict:
    offered = f"jwt.staging.{token}"
    async with websockets.connect(url, subprotocols=[offered], max_size=None) as socket:
        hold(socket.subprotocol == offered, "the offer is not echoed whole")
        client = Client(socket)
        given, told = await shaken_v2(client)
        runs = []
        for _ in range(2):
            payload = {
                "content": text,
                "run_id": given["run_id"],
                "thread_id": given["thread_id"],
                "timestamp": time.time(),
                "client_environment": "staging",
            }
            runs.append(await run(client, {"type": "user_message", "payload": payload}))
            hold(runs[-1]["thread"] == given["thread_id"], f"not in the thread given out: {runs[-1]}")
        await others(client)
    hold(socket.close_code == 1000, f"closed with {socket.close_code}")
    return {"missing": missing_of(told), "runs": runs}


def main(version: str, url: str, text: str) -> None:
    converse = {"v1": converse_v1, "v2": converse_v2}[version]
    try:
        print(json.dumps(asyncio.run(converse(url, os.environ["TOKEN"], text))))
    except (Broken, websockets.exceptions.WebSocketException, OSError) as broken:
        sys.exit(f"{version}: {broken}")


main(*sys.argv[1:4])
