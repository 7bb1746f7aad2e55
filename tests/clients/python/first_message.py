"""Sends one message to an agent-host and prints every frame until the answer is complete.

    TOKEN=… python first_message.py ws://127.0.0.1:8080/ws "hello"
"""

import asyncio
import json
import os
import sys

import websockets


async def main(url: str, text: str) -> None:
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    async with websockets.connect(url, additional_headers=headers, subprotocols=["agent-host.v1"]) as socket:
        print(await socket.recv())
        await socket.send(json.dumps({"type": "user_message", "id": "hello-1", "content": text}))
        async for line in socket:
            frame = json.loads(line)
            if frame["type"] == "ping":
                await socket.send(json.dumps({"type": "pong"}))
                continue
            print(line)
            if frame["type"] == "agent_completed":
                return
            if frame["type"] == "error":
                sys.exit(1)


asyncio.run(main(sys.argv[1], sys.argv[2]))
