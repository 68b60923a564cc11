"""Callers of a server that speaks our contract, as Python services write them today."""
import asyncio
import json
import time

import grpc
from dreamgate.v1 import video_service_pb2, video_service_pb2_grpc

# gRPC's own retries: what a caller turns on who wants a lost answer not to be its problem.
RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "dreamgate.v1.VideoService"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


class Callers:
    """Connections to one server. Use with `async with`."""

    def __init__(self, port, connections=1):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", RETRIES)]
        self.channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
            for _ in range(connections)
        ]
        self.stubs = [video_service_pb2_grpc.VideoServiceStub(c) for c in self.channels]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for channel in self.channels:
            await channel.close()

    async def submit(self, prompt):
        """Returns the prediction's id. `prompt` is the request id, too: no spaces."""
        request = video_service_pb2.SubmitVideoRequest(prompt=prompt, request_id=prompt)
        return (await self.stubs[0].SubmitVideo(request)).prediction.id

    async def watch(self, prediction_id, number=0, started=None):
        """Until the end: (unix seconds at which the terminal update came, the update). Calls
        `started` at the first update."""
        request = video_service_pb2.WatchPredictionRequest(prediction_id=prediction_id)
        came, update = 0.0, None
        stub = self.stubs[number % len(self.stubs)]
        async for message in stub.WatchPrediction(request):
            if message.WhichOneof("event") != "update":
                continue
            came = time.time()
            if update is None and started:
                started()
            update = message.update
        return came, update


async def wait_until(condition, what, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited too long for {what}")
        await asyncio.sleep(0.01)
