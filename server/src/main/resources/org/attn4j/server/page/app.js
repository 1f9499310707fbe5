import {ProblemError, getBytes, getJson, postForEvents} from './api.js';
import {drawChart, drawMap} from './draw.js';
import {setUpGenerate} from './generate.js';

const $ = (id) => document.getElementById(id);
const SWEEP = [0.6, 0.4, 0.3, 0.2, 0.1];

let limits = {};
let example = null; // the cat, once it was fetched
let running = null; // AbortController
let tried = []; // results on the picture of `triedKey`
let triedKey = '';

function say(text) { $('status').textContent = text; }

function showProblem(text) {
  $('problem').hidden = !text;
  $('problem').textContent = text || '';
}

function row(cells, header) {
  const line = document.createElement('tr');
  cells.forEach((cell, i) => {
    const element = document.createElement(header && i === 0 ? 'th' : 'td');
    if (header && i === 0) element.scope = 'row';
    element.append(cell);
    line.append(element);
  });
  return line;
}

async function showBackends() {
  const answer = await getJson('api/backends');
  limits = answer.limits;
  const serving = answer.backends.find((backend) => backend.ready);
  $('serving').textContent = `${serving.name} serves: ${serving.reason}.`
    + (answer.gpu ? '' : ' No backend on a GPU is ready; the table at the end of the page says why.');
  $('backends').replaceChildren(...answer.backends.map(
    (b) => row([b.name, b.ready ? 'ready' : 'not ready', b.reason], true)));
  $('doctor').textContent = answer.doctor.join('\n');
  for (const backend of answer.backends) {
    const option = new Option(backend.ready ? backend.name : `${backend.name} (not ready here)`, backend.name);
    option.disabled = !backend.ready;
    $('backend').add(option);
  }
  for (let side = 32; side <= limits.max_size; side = side < 128 ? side + 32 : side + 64) {
    $('size').add(new Option(`${side} x ${side} = ${side * side} tokens`, side, false, side === limits.default_size));
  }
  setUpGenerate(answer, {runExclusive, addStep, say});
}

// What makes a picture another picture: thresholds don't.
function pictureKey(file) {
  return [file ? `${file.name} ${file.size} ${file.lastModified}` : 'cat', $('size').value, $('sigma').value,
    $('noisy').checked, $('order').value, $('backend').value].join('|');
}

function address(thresholds) {
  const backend = $('backend').value;
  const dense = backend === 'sage' || backend === 'exact';
  const values = {
    backend, size: $('size').value, sigma: $('sigma').value, order: $('order').value,
    noise: $('noisy').checked ? 'none' : 'add', ...(dense ? {sparsity: 'off'} : thresholds),
  };
  return `api/denoise?${new URLSearchParams(values)}`;
}

function addStep(step) {
  const meter = document.createElement('meter');
  meter.max = Math.max(1, ...[...$('step-rows').querySelectorAll('meter')].map((m) => m.max), step.ms);
  meter.value = step.ms;
  const name = step.of > 1 ? `${step.name}, ${step.number} of ${step.of}` : step.name;
  $('step-rows').append(row([name, step.backend, step.ms.toFixed(1), meter]));
  $('step-rows').querySelectorAll('meter').forEach((m) => { m.max = meter.max; });
  say(`${name}: ${step.ms.toFixed(1)} ms`);
}

// One computation at a time; a new one ends the one before.
async function runExclusive(work) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  showProblem('');
  $('steps').hidden = false;
  $('step-rows').replaceChildren();
  $('stop').disabled = false;
  document.body.setAttribute('aria-busy', 'true');
  try {
    await work(mine.signal);
  } catch (error) {
    if (error.name === 'AbortError') {
      if (running === mine) say('Stopped.');
    } else {
      showProblem(error instanceof ProblemError ? error.message : `the server can't be reached: ${error.message}`);
      say('');
    }
  } finally {
    if (running === mine) {
      running = null;
      $('stop').disabled = true;
      document.body.removeAttribute('aria-busy');
    }
  }
}

async function denoise(thresholds, signal) {
  const file = $('file').files[0];
  if (file && file.size > limits.max_bytes) {
    throw new ProblemError(`the file has ${file.size} bytes; up to ${limits.max_bytes} are accepted`);
  }
  example = example || await getBytes('api/example');
  const key = pictureKey(file);
  say('Waiting for the server…');
  const answer = await postForEvents(address(thresholds), file || example, {}, addStep, signal);
  if (key !== triedKey) {
    tried = [];
    triedKey = key;
  }
  show(answer);
}

function setFigure(id, image, caption) {
  const figure = $(`figure-${id}`);
  figure.querySelector('img').src = `data:image/png;base64,${image}`;
  figure.querySelector('figcaption').textContent = caption;
}

function percent(share) { return `${(100 * share).toFixed(1)} %`; }

function show(answer) {
  const {served, exact, quality, images} = answer;
  const db = (value) => (value === undefined ? '' : `, PSNR ${value.toFixed(2)} dB`);
  $('result').hidden = false;
  $('sweep').disabled = !answer.block_map;
  setFigure('noisy', images.noisy, `Noisy${db(quality.psnr_noisy)}`);
  setFigure('exact', images.exact, `Exact attention${db(quality.psnr_exact)}, ${exact.ms.toFixed(1)} ms`
    + (exact.cached ? ' (when it was computed)' : ''));
  setFigure('result', images.result, answer.block_map
    ? `${percent(served.left_out)} of the blocks left out${db(quality.psnr)}, ${served.ms.toFixed(1)} ms`
    : `Dense, ${served.backend}${db(quality.psnr)}, ${served.ms.toFixed(1)} ms`);
  setFigure('difference', images.difference, `Difference of the two; error ${quality.error.toFixed(5)}`);
  $('scale-low').textContent = `-${images.difference_reach.toFixed(4)}`;
  $('scale-high').textContent = `+${images.difference_reach.toFixed(4)}`;
  $('summary').textContent = `${served.backend} served (${served.kernel}): ${answer.tokens} tokens, `
    + `${served.ms.toFixed(1)} ms, ${percent(served.left_out)} of the blocks left out.`;
  $('map').hidden = !answer.block_map;
  if (answer.block_map) {
    const text = `${percent(served.left_out)} left out`;
    drawMap($('map-canvas'), answer.block_map, answer.tokens);
    $('map-canvas').setAttribute('aria-label', `Block map, ${answer.block_map.rows.length} rows of `
      + `${answer.block_map.columns} blocks: ${text}`);
    $('map-share').textContent = text;
    addTried(answer);
  }
  $('tradeoff').hidden = !answer.block_map;
  say(`Done. ${$('summary').textContent}`);
}

function addTried({served, exact, quality}) {
  const t = served.thresholds;
  const label = `simthreshd1 ${t.simthreshd1.toFixed(2)}, cdfthreshd ${t.cdfthreshd.toFixed(2)}`;
  tried = tried.filter((point) => point.label !== label);
  tried.push({label, ms: served.ms, error: quality.error, leftOut: served.left_out, psnr: quality.psnr});
  drawChart($('chart'), tried, exact.ms);
  $('tried').replaceChildren(...[...tried].reverse().map((p) => row([
    p.label, percent(p.leftOut), p.ms.toFixed(1), `${(exact.ms / p.ms).toFixed(2)} x as fast`, p.error.toFixed(5),
    p.psnr === undefined ? '-' : p.psnr.toFixed(2)], true)));
}

const chosen = () => ({simthreshd1: $('simthreshd1').value, cdfthreshd: $('cdfthreshd').value});

$('denoise').addEventListener('submit', (event) => {
  event.preventDefault();
  runExclusive((signal) => denoise(chosen(), signal));
});
$('sweep').addEventListener('click', () => runExclusive(async (signal) => {
  for (const simthreshd1 of SWEEP) await denoise({...chosen(), simthreshd1}, signal);
}));
$('stop').addEventListener('click', () => running?.abort());
for (const id of ['simthreshd1', 'cdfthreshd']) {
  $(id).addEventListener('input', () => { $(`${id}-value`).textContent = Number($(id).value).toFixed(2); });
  $(id).addEventListener('change', () => {
    if (tried.length > 0) runExclusive((signal) => denoise(chosen(), signal));
  });
}
showBackends().catch((error) => showProblem(`the server can't be reached: ${error.message}`));
