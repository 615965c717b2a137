// Draws whole classes: render.mjs starts one of these per job and sends it the names of styles.

import {createHash} from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import {parentPort, workerData} from 'node:worker_threads';

import * as collection from '@dicebear/collection';
import {createAvatar} from '@dicebear/core';
import {Resvg} from '@resvg/resvg-js';
import {PNG} from 'pngjs';

import {Failure} from './failure.mjs';
import {recipeOf} from './styles.mjs';

const drawsPerImage = 20;  // A class that needs more seeds than this has too few distinct images.

// Flat art compresses best unfiltered.
const pngFormat = {
  colorType: 2, inputColorType: 2, inputHasAlpha: false, filterType: 0, deflateStrategy: 0,
};

/** The RGB means of the squares of `finer` pixels of an opaque RGBA image; `size` is the width in
    squares. */
function shrink(rgba, size, finer) {
  const sums = new Uint32Array(size * size * 3);
  const width = size * finer;
  for (let y = 0; y < width; ++y) {
    for (let x = 0; x < width; ++x) {
      const from = (y * width + x) * 4;
      const to = (Math.floor(y / finer) * size + Math.floor(x / finer)) * 3;
      for (let channel = 0; channel < 3; ++channel) sums[to + channel] += rgba[from + channel];
    }
  }
  return Buffer.from(sums.map((sum) => Math.round(sum / finer ** 2)));
}

/** A function from a seed to RGB pixels, for one style. */
function makeArtist(style, size) {
  const {options, finer} = recipeOf(style);
  const width = size * finer;
  return (seed) => {
    const svg = createAvatar(collection[style], {...options, size: width, seed}).toString();
    // An opaque ground lets the rasteriser blend: no fringe from un-premultiplied edges.
    const resvg = new Resvg(svg, {background: 'white', font: {loadSystemFonts: false}});
    const rgba = resvg.render().pixels;
    if (rgba.length !== width * width * 4) throw new Error(`${style} is not drawn as a square`);
    return shrink(rgba, size, finer);
  };
}

/** DiceBear's own hash gives neighbouring strings neighbouring generators, and the features drawn
    first would be distributed differently for test-* and train-*. SHA-256 parts them. */
function seedOf(style, image) {
  return createHash('sha256').update(`${style}/${image}`).digest('hex');
}

function isOneColour(rgb) {
  for (let i = 3; i < rgb.length; ++i) {
    if (rgb[i] !== rgb[i - 3]) return false;
  }
  return true;
}

/** Draws until `wanted` images are in `folder` that are not in `seen`, which they join. A file's
    number is its seed's: skipped seeds leave gaps. */
function renderSplit(artist, style, split, folder, {size, wanted, seen}) {
  const tally = {images: 0, duplicates: 0, blanks: 0};
  fs.mkdirSync(folder, {recursive: true});
  for (let draws = 0; tally.images < wanted; ++draws) {
    if (draws === wanted * drawsPerImage) {
      throw new Failure(`${style}: ${draws} seeds gave ${tally.images} distinct ${split} images ` +
        `of the ${wanted} wanted: ask for fewer, or leave the style out`, 2);
    }
    const number = String(draws).padStart(6, '0');
    const rgb = artist(seedOf(style, `${split}-${number}`));
    const hash = createHash('sha256').update(rgb).digest('hex');
    if (isOneColour(rgb)) {
      ++tally.blanks;
    } else if (seen.has(hash)) {
      ++tally.duplicates;
    } else {
      seen.add(hash);
      ++tally.images;
      const png = PNG.sync.write({width: size, height: size, data: rgb}, pngFormat);
      fs.writeFileSync(path.join(folder, `${number}.png`), png);
    }
  }
  return tally;
}

function renderClass(style, {folder, size, train, test}) {
  const artist = makeArtist(style, size);
  const seen = new Set();
  const tally = {};
  for (const [split, wanted] of [['train', train], ['test', test]]) {
    tally[split] = renderSplit(
      artist, style, split, path.join(folder, split, style), {size, wanted, seen});
  }
  return {style, tally, hashes: [...seen]};
}

parentPort.on('message', (style) => {
  try {
    parentPort.postMessage(renderClass(style, workerData));
  } catch (error) {
    parentPort.postMessage({error: error.message, status: error.status ?? 1});
  }
});
