// Talks to the server: JSON, problems (RFC 9457) and server-sent events of a POST.

export class ProblemError extends Error {}

async function problem(response) {
  let sentence = `the server answered ${response.status}`;
  if ((response.headers.get('Content-Type') || '').startsWith('application/problem+json')) {
    sentence = (await response.json()).detail;
  }
  const wait = response.headers.get('Retry-After');
  return new ProblemError(wait ? `${sentence} in ${wait} s` : sentence);
}

export async function getJson(address) {
  const response = await fetch(address);
  if (!response.ok) throw await problem(response);
  return response.json();
}

export async function getBytes(address) {
  const response = await fetch(address);
  if (!response.ok) throw await problem(response);
  return response.blob();
}

// Sends body, calls onStep for each step, returns the result.
export async function postForEvents(address, body, headers, onStep, signal) {
  const response = await fetch(address, {
    method: 'POST', body, signal, headers: {...headers, Accept: 'text/event-stream'},
  });
  if (!response.ok) throw await problem(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) throw new ProblemError('the connection ended before the result came');
    text += value;
    let end;
    while ((end = text.indexOf('\n\n')) >= 0) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const event = lines[0].slice('event: '.length);
      const data = JSON.parse(lines[1].slice('data: '.length));
      if (event === 'result') return data;
      if (event === 'problem') throw new ProblemError(data.detail);
      onStep(data);
    }
  }
}
