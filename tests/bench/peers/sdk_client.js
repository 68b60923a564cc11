// Makes videos with WaveSpeed's own SDK, as installed, all at once, and prints what became of each.
//
//   node sdk_client.js < JOB    with wavespeed in NODE_PATH
//   JOB: {"baseUrl", "apiKey", "model", "prompts": [], "options": {} for run(), "calls": how often a
//        caller calls run() for a video before giving up}
//   stdout: one line of JSON a video: {"prompt", "time": unix seconds, "ok", "calls", "error"}
'use strict';
const fs = require('fs');
const { Client } = require('wavespeed');

const job = JSON.parse(fs.readFileSync(0, 'utf8'));
const client = new Client(job.apiKey, { baseUrl: job.baseUrl });
console.log = (...words) => console.error(...words); // the SDK reports its retries here

async function makeVideo(prompt) {
  let error = '';
  let calls = 0;
  let ok = false;
  while (!ok && calls < job.calls) {
    ++calls;
    try {
      const result = await client.run(job.model, { prompt }, job.options);
      ok = result.outputs.length > 0;
    } catch (problem) {
      error = problem.message;
    }
  }
  process.stdout.write(JSON.stringify({ prompt, time: Date.now() / 1000, ok, calls, error }) + '\n');
}

Promise.all(job.prompts.map(makeVideo));
