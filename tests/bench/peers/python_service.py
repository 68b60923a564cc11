"""The service that most would write: gRPC in, HTTP out, a poll loop of one second for each watcher.

Speaks SubmitVideo and WatchPrediction of our contract. One process, one asyncio loop, nothing on
disk; the upstream id serves as prediction id. A request_id that was answered is answered again from
memory; an error of WaveSpeed's becomes UNAVAILABLE, which callers retry.

    python_service.py PORTS_FILE BASE_URL API_KEY MODEL
"""
import asyncio
import os
import signal
import sys

import aiohttp
import grpc
from dreamgate.v1 import prediction_pb2, video_service_pb2, video_service_pb2_grpc

POLL_INTERVAL_S = 1.0
STATES = {
    "completed": prediction_pb2.PREDICTION_STATE_COMPLETED,
    "failed": prediction_pb2.PREDICTION_STATE_FAILED,
    "cancelled": prediction_pb2.PREDICTION_STATE_CANCELLED,
    "timeout": prediction_pb2.PREDICTION_STATE_TIMED_OUT,
    "deleted": prediction_pb2.PREDICTION_STATE_DELETED,
    "created": prediction_pb2.PREDICTION_STATE_CREATED,
}
TERMINAL = {"completed", "failed", "cancelled", "timeout", "deleted"}


class VideoService(video_service_pb2_grpc.VideoServiceServicer):
    def __init__(self, session, base_url, model):
        self.session = session
        self.base_url = base_url
        self.model = model
        self.submit_url = f"{base_url}/api/v3/{model}"
        self.by_request_id = {}

    def prediction(self, task, sequence):
        return prediction_pb2.Prediction(
            id=task["id"],
            upstream_id=task["id"],
            upstream_status=task["status"],
            model=self.model,
            sequence=sequence,
            state=STATES.get(task["status"], prediction_pb2.PREDICTION_STATE_PROCESSING),
            outputs=[prediction_pb2.Output(url=url) for url in task.get("outputs") or []],
        )

    async def SubmitVideo(self, request, context):
        known = self.by_request_id.get(request.request_id)
        if known:
            return video_service_pb2.SubmitVideoResponse(prediction=known, replayed=True)
        body = {"prompt": request.prompt, "aspect_ratio": "16:9", "seed": -1}
        try:
            async with self.session.post(self.submit_url, json=body) as answer:
                if answer.status >= 500:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, f"upstream: {answer.status}")
                if answer.status != 200:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, await answer.text())
                task = (await answer.json())["data"]
        except (aiohttp.ClientError, asyncio.TimeoutError) as problem:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"upstream: {problem}")
        prediction = self.prediction(task, 1)
        self.by_request_id[request.request_id] = prediction
        return video_service_pb2.SubmitVideoResponse(prediction=prediction)

    async def WatchPrediction(self, request, context):
        url = f"{self.base_url}/api/v3/predictions/{request.prediction_id}/result"
        shown = None
        sequence = 0
        while True:
            try:
                async with self.session.get(url) as answer:
                    task = (await answer.json())["data"] if answer.status == 200 else None
            except (aiohttp.ClientError, asyncio.TimeoutError):
                task = None  # polls again
            if task and task["status"] != shown:
                shown = task["status"]
                sequence += 1
                yield video_service_pb2.WatchPredictionResponse(
                    update=self.prediction(task, sequence)
                )
                if shown in TERMINAL:
                    return
            await asyncio.sleep(POLL_INTERVAL_S)


async def main(ports_file, base_url, api_key, model):
    headers = {"Authorization": f"Bearer {api_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        server = grpc.aio.server()
        video_service_pb2_grpc.add_VideoServiceServicer_to_server(
            VideoService(session, base_url, model), server
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        with open(ports_file + ".new", "w", encoding="ascii") as file:
            file.write(f"grpc={port}\n")
        os.rename(ports_file + ".new", ports_file)
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()
        await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
