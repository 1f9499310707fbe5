// The form that generates pictures from words.

import {postForEvents} from './api.js';

const $ = (id) => document.getElementById(id);

function wordButton(word) {
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.word = word;
  button.textContent = word;
  button.addEventListener('click', () => { $('prompt').value = word; });
  return button;
}

function wanted() {
  const side = Number($('generate-size').value);
  return {
    prompt: $('prompt').value, width: side, height: side, num_images: Number($('pictures-wanted').value),
    steps: Number($('steps-wanted').value), seed: Number($('seed').value), sparsity: $('generate-sparse').checked,
    backend: $('generate-backend').value,
  };
}

function figure(request, served, image, index) {
  const element = document.createElement('figure');
  const picture = document.createElement('img');
  picture.src = `data:image/png;base64,${image}`;
  picture.alt = `Generated for: ${request.prompt}`;
  const caption = document.createElement('figcaption');
  caption.textContent = `${request.prompt}: seed ${request.seed + index}, ${served.backend}, `
    + `${served.ms_per_step.toFixed(1)} ms a step`
    + (request.sparsity ? `, ${(100 * served.left_out).toFixed(1)} % of the blocks left out` : '');
  element.append(picture, caption);
  return element;
}

export function setUpGenerate(answer, {runExclusive, addStep, say}) {
  const {ready, reason, sizes = [], words = []} = answer.generate;
  $('generate-reason').textContent = ready
    ? 'It paints variations of the photographs that it was trained on, one for each of these words:' : `Not here: ${reason}.`;
  $('generate-go').disabled = !ready;
  sizes.forEach((side) => $('generate-size').add(new Option(`${side} x ${side}`, side)));
  $('words').replaceChildren(...words.map(wordButton));
  $('words').hidden = words.length === 0;
  if (words.length > 0) $('prompt').value = words[0];
  $('generate').addEventListener('submit', (event) => {
    event.preventDefault();
    runExclusive(async (signal) => {
      const request = wanted();
      const {served, images} = await postForEvents(
        'api/generate', JSON.stringify(request), {'Content-Type': 'application/json'}, addStep, signal);
      $('generated').replaceChildren(...images.map((image, index) => figure(request, served, image, index)));
      say('Done.');
    });
  });
}
