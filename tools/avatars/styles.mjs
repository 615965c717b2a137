// The classes: what each style is asked to draw, whose art it is, and on what terms.

import fs from 'node:fs';
import path from 'node:path';

import {Failure} from './failure.mjs';

// Styles without a background of their own stand on one of these, drawn by the seed. All such
// classes share the list, so that the background does not tell the class.
const softColours = [
  'c4e3f3', 'd9cff0', 'f9d3d9', 'fde2c4', 'cdebd5', 'fbf0c0', 'c5ebea', 'e4e6ea',
];
const soft = {options: {backgroundColor: softColours}};
const white = {options: {backgroundColor: ['ffffff']}};
const own = {options: {}};

// The default classes: the options that each style is given, and how many times finer than the
// image it is drawn.
export const classes = {
  adventurer: soft,
  adventurerNeutral: own,
  bigEars: soft,
  bigEarsNeutral: own,
  bigSmile: soft,
  croodles: soft,
  croodlesNeutral: soft,
  dylan: own,
  // With its own six colours, the style has 1350 images in all.
  funEmoji: {
    options: {
      backgroundColor: [
        'fcbc34', 'd84be5', 'd9915b', 'f6d594', '059ff2', '71cf62',
        'ff8a70', 'f27ba5', '4cc3b5', 'a795f0', 'c6d94f', '9db4c4',
      ],
    },
  },
  icons: own,
  identicon: white,
  lorelei: soft,
  loreleiNeutral: soft,
  micah: soft,
  miniavs: soft,
  notionists: soft,
  notionistsNeutral: soft,
  openPeeps: soft,
  personas: soft,
  pixelArt: soft,
  pixelArtNeutral: own,
  // It asks for hard edges, which suit the squares of other styles but not circles.
  rings: {...soft, finer: 4},
  shapes: own,
  thumbs: own,
  toonHead: soft,
};

// Refused by name. Letters in whichever font a machine has are neither a class nor reproducible.
const unfit = ['initials'];

// Name and address must both agree. "Free for personal and commercial use", which is all that
// avataaars, avataaarsNeutral, bottts and botttsNeutral say of themselves, is not here: it grants
// use, but neither redistribution nor derived works, and a data set is both.
const allowedLicences = {
  'CC0 1.0': 'https://creativecommons.org/publicdomain/zero/1.0/',
  'CC BY 4.0': 'https://creativecommons.org/licenses/by/4.0/',
  'MIT': 'https://',
};

const changes = 'The art is as DiceBear packages it, its parts combined at random, set on a ' +
  'plain ground and rasterised.';

/** How a style is drawn: options for DiceBear, and `finer`. */
export function recipeOf(style) {
  return {finer: 1, ...(classes[style] ?? own)};
}

/** The file LICENSE of a style's package: MIT asks that it goes along. */
function noticeOf(style) {
  const name = style.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const file = new URL('../LICENSE', import.meta.resolve(`@dicebear/${name}`));
  return fs.readFileSync(file, 'utf8').trim();
}

/** Who made each style and on what terms, in the order of the styles. Throws for a style that is
    unknown, unfit, or whose terms are not on the list. */
export function credits(styles, collection) {
  return styles.map((style) => {
    if (!Object.keys(collection).includes(style)) {
      throw new Failure(`unknown style '${style}': see README.md`, 2);
    }
    if (unfit.includes(style)) throw new Failure(`'${style}' draws letters: it is no class`, 2);
    const {title, creator, source, homepage, license} = collection[style].meta ?? {};
    const {name, url} = license ?? {};
    const address = Object.hasOwn(allowedLicences, name ?? '') ? allowedLicences[name] : undefined;
    if (address === undefined || !url?.startsWith(address)) {
      throw new Failure(`the licence of '${style}' is not on the list: ${name} (${url})`, 2);
    }
    const licence = name === 'MIT' ? {name, url, notice: noticeOf(style)} : {name, url};
    return {class: style, title, creator, homepage, source, licence, changes};
  });
}

/** LICENCES.md for people, licences.json for programs. */
export function writeLicences(folder, entries) {
  const cell = (text) => String(text).replaceAll('|', '\\|');
  const rows = entries.map(({class: name, title, creator, source, licence}) =>
    `| ${name} | ${cell(title)} | ${cell(creator)} | ${source} | ` +
    `[${licence.name}](${licence.url}) |\n`);
  const notices = entries.filter(({licence}) => licence.notice !== undefined)
    .map((entry) => `\n## ${entry.class}\n\n\`\`\`\n${entry.licence.notice}\n\`\`\`\n`);
  fs.writeFileSync(path.join(folder, 'LICENCES.md'),
    '# Whose art this is\n\nEach class is drawn in one style of DiceBear (https://dicebear.com). ' +
    `${changes}\nWho publishes images of a class credits its creator and names the licence.\n\n` +
    `| class | title | creator | source | licence |\n|---|---|---|---|---|\n${rows.join('')}` +
    notices.join(''));
  fs.writeFileSync(path.join(folder, 'licences.json'), `${JSON.stringify(entries, null, 2)}\n`);
}
