// The block map and the chart.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Round numbers between 0 and most, about five of them.
function ticks(most) {
  const raw = most / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const values = [];
  for (let i = 0; i * step <= most * 1.0001; i++) values.push(i * step);
  return values;
}

const short = (value) => String(Number(value.toPrecision(3)));

// A row of blocks for each digit string; keys to the right, queries down.
export function drawMap(canvas, map, tokens) {
  const left = 70, top = 30, side = 560;
  const context = canvas.getContext('2d');
  context.fillStyle = css('--panel');
  context.fillRect(0, 0, canvas.width, canvas.height);
  const rows = map.rows.length;
  for (let row = 0; row < rows; row++) {
    const y = top + Math.floor(row * side / rows);
    const bottom = top + Math.floor((row + 1) * side / rows);
    for (let column = 0; column < map.columns; column++) {
      const digit = parseInt(map.rows[row][column >> 2], 16);
      context.fillStyle = css(digit >> (3 - (column & 3)) & 1 ? '--computed' : '--left');
      const x = left + Math.floor(column * side / map.columns);
      context.fillRect(x, y, left + Math.floor((column + 1) * side / map.columns) - x, bottom - y);
    }
  }
  context.strokeStyle = css('--soft');
  context.strokeRect(left - .5, top - .5, side + 1, side + 1);
  context.fillStyle = css('--ink');
  context.font = '15px system-ui, "DejaVu Sans", sans-serif';
  for (const value of ticks(tokens)) {
    const at = value / tokens * side;
    context.textAlign = 'center';
    context.fillText(value, left + at, top + side + 20);
    context.textAlign = 'right';
    context.fillText(value, left - 6, top + at + 5);
  }
  context.textAlign = 'center';
  context.fillText(`key tokens, in blocks of ${map.key_block}`, left + side / 2, top + side + 44);
  context.save();
  context.translate(16, top + side / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(`query tokens, in blocks of ${map.query_block}`, 0, 0);
  context.restore();
}

function add(svg, name, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  if (text !== undefined) element.textContent = text;
  svg.append(element);
  return element;
}

// points: {ms, error, label}; the last one is the newest. exactMs: exact attention, error 0.
export function drawChart(svg, points, exactMs) {
  const left = 80, right = 610, top = 20, bottom = 350;
  svg.querySelectorAll(':scope > :not(title)').forEach((element) => element.remove());
  const mostMs = 1.2 * Math.max(exactMs, ...points.map((p) => p.ms));
  const mostError = 1.15 * Math.max(1e-4, ...points.map((p) => p.error));
  const x = (ms) => left + ms / mostMs * (right - left);
  const y = (error) => bottom - error / mostError * (bottom - top);
  for (const value of ticks(mostMs)) {
    add(svg, 'line', {class: 'grid', x1: x(value), x2: x(value), y1: top, y2: bottom});
    add(svg, 'text', {x: x(value), y: bottom + 20, 'text-anchor': 'middle'}, short(value));
  }
  for (const value of ticks(mostError)) {
    add(svg, 'line', {class: 'grid', x1: left, x2: right, y1: y(value), y2: y(value)});
    add(svg, 'text', {x: left - 6, y: y(value) + 5, 'text-anchor': 'end'}, short(value));
  }
  add(svg, 'path', {class: 'axis', fill: 'none', d: `M${left} ${top}V${bottom}H${right}`});
  add(svg, 'text', {x: (left + right) / 2, y: 400, 'text-anchor': 'middle'}, 'ms of attention');
  add(svg, 'text', {transform: 'translate(18 185) rotate(-90)', 'text-anchor': 'middle'}, 'error against exact attention');
  add(svg, 'circle', {class: 'exact', cx: x(exactMs), cy: y(0), r: 7});
  add(svg, 'text', {x: x(exactMs) + 12, y: y(0) - 6}, 'exact');
  points.forEach((point, i) => {
    const dot = add(svg, 'circle', {
      class: i === points.length - 1 ? 'point now' : 'point', cx: x(point.ms), cy: y(point.error), r: 6,
    });
    add(dot, 'title', {}, `${point.label}: ${point.ms.toFixed(1)} ms, error ${point.error.toFixed(5)}`);
  });
}
