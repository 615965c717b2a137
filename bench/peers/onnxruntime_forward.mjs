#!/usr/bin/env node
// Times one forward of an exported DiT or DiT-MoE in ONNX Runtime (npm package onnxruntime-node)
// and compares its output with PyTorch's. Prints one JSON object. Help: --help.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const PACKAGE = 'onnxruntime-node';
const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const PEERS = path.join(ROOT, 'build/peers');
const TOLERANCE = 1e-4; // of the output's largest magnitude
// A MoE's router may choose another expert where rounding decides, which changes some tokens
// much and the rest hardly: half of the values have to be as close as those of a dense network.
const MOE_NMSE = 1e-3;

const HELP = `usage: onnxruntime_forward.mjs PRESET [options]

Times one forward of PRESET (S/2, S/2-8E2A, ...) in ONNX Runtime, f32, on the CPU. Needs
bench/peers/setup_onnxruntime.sh once, and the files of bench/peers/export_onnx.py.

  --batch N          images in a forward; the graph has to be exported for it (8)
  --threads N        of a product (2)
  --graph NAME       plain: as torch.onnx.export writes it; fused: with ONNX Runtime's own
                     attention, GELU and MoE (fused)
  --model FILE       an .onnx file with its .io beside it, instead of build/peers/onnx/...
  --optimized FILE   write the graph that ONNX Runtime makes of it, to look at
  --repetitions N    (10)
  --warmup N         (2)
  --out FILE         write the JSON there, not to standard output`;

class UsageError extends Error {}

function parseOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      batch: { type: 'string', default: '8' },
      threads: { type: 'string', default: '2' },
      graph: { type: 'string', default: 'fused' },
      model: { type: 'string' },
      optimized: { type: 'string' },
      repetitions: { type: 'string', default: '10' },
      warmup: { type: 'string', default: '2' },
      out: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return { help: true };
  if (positionals.length !== 1) throw new UsageError('expected one preset (--help)');
  if (!['plain', 'fused'].includes(values.graph)) {
    throw new UsageError(`--graph: expected plain or fused, found '${values.graph}'`);
  }
  const options = { ...values, preset: positionals[0] };
  for (const [name, least] of [['batch', 1], ['threads', 1], ['repetitions', 1], ['warmup', 0]]) {
    options[name] = Number(values[name]);
    if (!Number.isInteger(options[name]) || options[name] < least) {
      throw new UsageError(`--${name}: expected a whole number from ${least}`);
    }
  }
  const stem = `${options.preset.replace('/', '_')}-b${options.batch}-${options.graph}.onnx`;
  options.model ??= path.join(PEERS, 'onnx', stem);
  return options;
}

function loadRuntime() {
  const require = createRequire(path.join(PEERS, 'package.json'));
  try {
    const version = require(`${PACKAGE}/package.json`).version;
    return { ort: require(PACKAGE), version };
  } catch (error) {
    const reason = error.message.split('\n')[0];
    throw new UsageError(`npm package ${PACKAGE} does not load (${reason}): ` +
        'run bench/peers/setup_onnxruntime.sh');
  }
}

// The arrays of an .io file: a line of JSON, then their little-endian bytes.
function readArrays(file) {
  const bytes = readFileSync(file);
  const end = bytes.indexOf(10);
  const kinds = { float32: [Float32Array, 4], int64: [BigInt64Array, 8] };
  let at = end + 1;
  const arrays = {};
  for (const { name, dtype, shape } of JSON.parse(bytes.subarray(0, end).toString())) {
    const [Kind, size] = kinds[dtype];
    const length = shape.reduce((product, axis) => product * axis, 1) * size;
    const own = new Uint8Array(bytes.subarray(at, at + length)); // aligned, which bytes is not
    arrays[name] = { dtype, shape, data: new Kind(own.buffer) };
    at += length;
  }
  return arrays;
}

// Largest and median difference relative to the largest magnitude, and squared error over squared
// value; NaN anywhere makes all of them NaN.
function compareArrays(actual, expected) {
  if (actual.length !== expected.length) throw new Error('the output has another size');
  const differences = new Float64Array(expected.length);
  let [size, error, power] = [0, 0, 0];
  for (let i = 0; i < expected.length; ++i) {
    differences[i] = Math.abs(actual[i] - expected[i]);
    size = Math.max(size, Math.abs(expected[i]));
    error += differences[i] ** 2;
    power += expected[i] ** 2;
  }
  differences.sort();
  const broken = Number.isNaN(error) ? NaN : 1;
  return {
    largest: (broken * differences[differences.length - 1]) / size,
    median: (broken * differences[differences.length >> 1]) / size,
    nmse: error / power,
  };
}

function checkOutput(errors, isMoe) {
  const right = isMoe ? errors.median <= TOLERANCE && errors.nmse <= MOE_NMSE
    : errors.largest <= TOLERANCE;
  if (!right) {
    throw new Error(`the output differs from PyTorch's: ${JSON.stringify(errors)}`);
  }
}

function quantile(sorted, q) {
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

async function timeForward(session, feeds, options) {
  const milliseconds = [];
  let outputs;
  for (let i = 0; i < options.warmup + options.repetitions; ++i) {
    const begin = process.hrtime.bigint();
    outputs = await session.run(feeds);
    if (i >= options.warmup) milliseconds.push(Number(process.hrtime.bigint() - begin) / 1e6);
  }
  return { sorted: milliseconds.sort((a, b) => a - b), out: outputs.out.data };
}

function writeResult(result, out) {
  if (!out) {
    console.log(JSON.stringify(result));
    return;
  }
  writeFileSync(`${out}.part`, `${JSON.stringify(result, null, 1)}\n`);
  renameSync(`${out}.part`, out);
}

async function main() {
  const options = parseOptions();
  if (options.help) {
    console.log(HELP);
    return;
  }
  const { ort, version } = loadRuntime();
  const io = options.model.replace(/\.onnx$/, '.io');
  if (!existsSync(options.model) || !existsSync(io)) {
    throw new UsageError(`${options.model} or its .io is missing: run bench/peers/export_onnx.py ` +
        `${options.preset} --batch ${options.batch} --graph ${options.graph}`);
  }
  const arrays = readArrays(io);
  const session = await ort.InferenceSession.create(options.model, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    ...(options.optimized ? { optimizedModelFilePath: options.optimized } : {}),
  });
  const feeds = {};
  for (const name of ['x', 't', 'y']) {
    const { dtype, data, shape } = arrays[name];
    feeds[name] = new ort.Tensor(dtype, data, shape);
  }
  const { sorted, out } = await timeForward(session, feeds, options);
  const errors = compareArrays(out, arrays.out.data);
  checkOutput(errors, options.preset.includes('E'));
  const round = (value) => Math.round(value * 1e3) / 1e3;
  writeResult({
    implementation: 'onnxruntime', preset: options.preset, batch: options.batch, dtype: 'f32',
    threads: options.threads, graph: options.graph, repetitions: options.repetitions,
    median_ms: round(quantile(sorted, 0.5)), p10_ms: round(quantile(sorted, 0.1)),
    p90_ms: round(quantile(sorted, 0.9)), error_against_pytorch: errors, cpu: cpus()[0].model,
    versions: { onnxruntime: version, node: process.version },
  }, options.out);
}

main().catch((error) => {
  console.error(`onnxruntime_forward: ${error.message.split('\n')[0]}`);
  const usage = error instanceof UsageError || String(error.code).startsWith('ERR_PARSE_ARGS');
  process.exitCode = usage ? 2 : 1;
});
