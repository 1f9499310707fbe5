// The form that generates pictures from words.

import {postForEvents} from './api.js';

const $ = (id) => document.getElementById(id);

export function setUpGenerate(answer, {runExclusive, addStep, say}) {
  const {ready, reason, sizes = [], words = []} = answer.generate;
  $('generate-reason').textContent = ready ? `The model knows these words: ${words.join(', ')}.` : `Not here: ${reason}.`;
  $('generate-go').disabled = !ready;
  sizes.forEach((side) => $('generate-size').add(new Option(`${side} x ${side}`, side)));
  if (words.length > 0) $('prompt').value = words[0];
  $('generate').addEventListener('submit', (event) => {
    event.preventDefault();
    runExclusive(async (signal) => {
      const side = Number($('generate-size').value);
      const request = {
        prompt: $('prompt').value, width: side, height: side, num_images: 1,
        steps: Number($('steps-wanted').value), seed: Number($('seed').value),
      };
      const result = await postForEvents(
        'api/generate', JSON.stringify(request), {'Content-Type': 'application/json'}, addStep, signal);
      $('generated').replaceChildren(...result.images.map((image) => {
        const figure = document.createElement('figure');
        const picture = document.createElement('img');
        picture.src = `data:image/png;base64,${image}`;
        picture.alt = `Generated for: ${request.prompt}`;
        const caption = document.createElement('figcaption');
        caption.textContent = `${request.prompt}: seed ${request.seed}, ${result.served.backend}, `
          + `${result.served.ms_per_step.toFixed(1)} ms a step`;
        figure.append(picture, caption);
        return figure;
      }));
      say('Done.');
    });
  });
}
