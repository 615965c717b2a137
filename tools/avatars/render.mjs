// Renders a class-conditional colour image data set: one class per avatar style of DiceBear, one
// image per seed. README.md says what comes out and whose art it is.
//
// The same arguments give the same pixels, whatever --jobs is: each class is drawn by one worker,
// in the order of its seeds, and shares nothing with the others.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {Worker} from 'node:worker_threads';

import {Failure} from './failure.mjs';
import {classes, credits, recipeOf, writeLicences} from './styles.mjs';

const usage = `usage: node render.mjs OUT_DIR [options]

Draws OUT_DIR/train/STYLE/NUMBER.png and OUT_DIR/test/STYLE/NUMBER.png, RGB of 8 bits, with the
credits due in OUT_DIR/LICENCES.md and OUT_DIR/licences.json.

  --size N       width and height in pixels, 8 to 1024 (64)
  --train N      training images per class, 1 to 50000 (1600)
  --test N       held-out images per class, 0 to 50000 (200)
  --styles A,B   the classes (those of README.md)
  --jobs N       workers, 1 to 64 (one per processor)
  --help         this text
`;

const manifestName = 'dataset.json';
const here = path.dirname(fileURLToPath(import.meta.url));

function parseNumber(values, name, low, high) {
  const text = values[name];
  const number = /^\d{1,6}$/.test(text) ? Number(text) : NaN;
  if (!(number >= low && number <= high)) {
    throw new Failure(`--${name} takes a whole number from ${low} to ${high}, not '${text}'`, 2);
  }
  return number;
}

function parseCommand(args) {
  const options = {
    size: {type: 'string', default: '64'},
    train: {type: 'string', default: '1600'},
    test: {type: 'string', default: '200'},
    styles: {type: 'string', default: Object.keys(classes).join(',')},
    jobs: {type: 'string', default: String(Math.min(os.availableParallelism(), 64))},
    help: {type: 'boolean', default: false},
  };
  let parsed;
  try {
    parsed = parseArgs({args, options, allowPositionals: true});
  } catch (error) {
    throw new Failure(error.message.split(/[.\n]\s/)[0], 2);
  }
  const {values, positionals} = parsed;
  if (values.help) return {help: true};
  if (positionals.length !== 1 || positionals[0] === '') {
    throw new Failure('one OUT_DIR is needed: see --help', 2);
  }
  return {
    out: path.resolve(positionals[0]),
    jobs: parseNumber(values, 'jobs', 1, 64),
    size: parseNumber(values, 'size', 8, 1024),
    train: parseNumber(values, 'train', 1, 50000),
    test: parseNumber(values, 'test', 0, 50000),
    styles: values.styles.split(',').map((name) => name.trim()),
  };
}

async function loadCollection() {
  try {
    // The workers need these: better to learn now that they are missing.
    await Promise.all(['@dicebear/core', '@resvg/resvg-js', 'pngjs'].map((name) => import(name)));
    return await import('@dicebear/collection');
  } catch (error) {
    const why = error.message.split('\n')[0];
    throw new Failure(`run 'npm ci' in the folder of render.mjs first (${why})`, 1);
  }
}

/** What the images depend on. */
function requestOf({size, train, test, styles}) {
  if (new Set(styles).size !== styles.length) throw new Failure('--styles repeats a style', 2);
  const {dependencies} = JSON.parse(fs.readFileSync(path.join(here, 'package.json'), 'utf8'));
  const recipes = [...styles].sort().map((style) => [style, recipeOf(style)]);
  return {size, train, test, classes: Object.fromEntries(recipes), packages: dependencies};
}

/** Whether `out` is this data set already. Throws if it is anything else but absent or empty. */
function isComplete(out, request) {
  if (!fs.existsSync(out)) return false;
  if (!fs.statSync(out).isDirectory()) throw new Failure(`${out} is not a folder`, 2);
  if (fs.readdirSync(out).length === 0) return false;
  let found;
  try {
    found = JSON.parse(fs.readFileSync(path.join(out, manifestName), 'utf8')).request;
  } catch {
    throw new Failure(`${out} is neither empty nor a data set of this program`, 2);
  }
  if (JSON.stringify(found) !== JSON.stringify(request)) {
    throw new Failure(`${out} holds the data set of other arguments: name another folder`, 2);
  }
  for (const split of ['train', 'test']) {
    for (const style of Object.keys(request.classes)) {
      const folder = path.join(out, split, style);
      const images = fs.existsSync(folder) ? fs.readdirSync(folder).length : 0;
      if (images !== request[split]) {
        throw new Failure(
          `${folder} holds ${images} images, not ${request[split]}: remove ${out}`, 1);
      }
    }
  }
  return true;
}

function describeSkipped({train, test}) {
  const count = (what) => `${train[what]} + ${test[what]}`;
  const blanks = train.blanks + test.blanks > 0 ? `, ${count('blanks')} of one colour` : '';
  return `skipped ${count('duplicates')} duplicates${blanks}`;
}

/** Books what the workers answer; throws what they could not do. */
function makeBook() {
  const tallies = {};
  const owner = new Map();
  const enter = ({error, status, style, tally, hashes}) => {
    if (error !== undefined) throw new Failure(error, status);
    for (const hash of hashes) {
      if (owner.has(hash)) {
        throw new Failure(`${style} and ${owner.get(hash)} drew the same image`, 2);
      }
      owner.set(hash, style);
    }
    tallies[style] = tally;
    console.log(
      `${style}: ${tally.train.images} + ${tally.test.images} images, ${describeSkipped(tally)}`);
  };
  return {enter, tallies};
}

/** Draws all classes into `folder`, unless `stopped` rejects first; resolves to the tally of each.
    No worker is left running either way. */
async function renderClasses(request, folder, jobs, stopped) {
  const queue = Object.keys(request.classes);
  const {enter, tallies} = makeBook();
  const {size, train, test} = request;
  const workers = Array.from({length: Math.min(jobs, queue.length)}, () => new Worker(
    new URL('worker.mjs', import.meta.url), {workerData: {folder, size, train, test}}));
  const work = (worker) => new Promise((resolve, reject) => {
    const next = () => (queue.length > 0 ? worker.postMessage(queue.shift()) : resolve());
    worker.on('error', reject);
    worker.on('exit', () => reject(new Failure('a worker ended early', 1)));
    worker.on('message', (answer) => {
      try {
        enter(answer);
        next();
      } catch (error) {
        reject(error);
      }
    });
    next();
  });
  try {
    await Promise.race([Promise.all(workers.map(work)), stopped]);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return Object.fromEntries(Object.keys(request.classes).map((name) => [name, tallies[name]]));
}

/** Makes `out` from a folder beside it, which is renamed when all is in it and removed when not. */
async function build(out, request, entries, jobs) {
  const partial = `${out}.partial-${process.pid}`;
  fs.mkdirSync(path.dirname(out), {recursive: true});
  fs.mkdirSync(partial);
  // A signal may come twice, to the process and to its group: the listeners stay.
  const stopped = new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM']) {
      process.on(signal, () => reject(new Failure(`stopped by ${signal}`, 1)));
    }
  });
  try {
    const rendered = await renderClasses(request, partial, jobs, stopped);
    writeLicences(partial, entries);
    const manifest = JSON.stringify({request, rendered}, null, 2);
    fs.writeFileSync(path.join(partial, manifestName), `${manifest}\n`);
    fs.renameSync(partial, out);
  } catch (error) {
    fs.rmSync(partial, {recursive: true, force: true});
    throw error;
  }
}

async function main() {
  const command = parseCommand(process.argv.slice(2));
  if (command.help) {
    process.stdout.write(usage);
    return;
  }
  const {out, jobs} = command;
  const request = requestOf(command);
  const styles = Object.keys(request.classes);
  const entries = credits(styles, await loadCollection());
  const summary = `${styles.length} classes of ${request.train} + ${request.test} images, ` +
    `${request.size} x ${request.size}`;
  if (isComplete(out, request)) {
    console.log(`${out} is complete: ${summary}`);
    return;
  }
  const start = performance.now();
  await build(out, request, entries, jobs);
  console.log(`${out}: ${summary}, in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

try {
  await main();
} catch (error) {
  console.error(`render: ${error.message}`);
  process.exit(error.status ?? 1);
}
