// The heat map: how far a run comes, over its learning rate and one other hyperparameter.
(function (genopt) {
  'use strict';
  const {facts, make, select, hypersOf, walk, score, scale, written, sized, heat, choice, RATES} = genopt;
  const SIDE = 24;

  function heatMap(playground) {
    const canvas = make('canvas', {class: 'heat', role: 'img', 'aria-label': 'Heat map of the final loss'}), said = make('p', {class: 'summary', 'aria-live': 'polite'});
    const pickers = make('div', {class: 'bar'}), legend = make('p', {class: 'legend'});
    let at = 0, other = '', cells = null, job = 0;
    const element = make('details', {class: 'heatmap', ontoggle: () => element.open && fill()},
      make('summary', {}, 'Where it converges: over lr and one other hyperparameter'), pickers, canvas, legend, said);

    const current = () => playground.runs[at] || playground.runs[0];
    const others = r => Object.keys(hypersOf(r)).filter(k => k !== 'lr');

    function update() {
      const able = playground.runs.filter(r => 'lr' in hypersOf(r) && others(r).length);
      element.hidden = !able.length;
      if (element.open) fill();
    }

    function fill() {
      const r = current();
      if (!r) return;
      if (!others(r).includes(other)) other = ['mom', ...others(r)].find(k => others(r).includes(k));
      pickers.replaceChildren(
        select('optimizer', playground.runs.map((q, i) => [String(i), q.name]), String(at), i => { at = Number(i); fill(); }),
        select('beside lr', others(r), other, k => { other = k; fill(); }));
      compute(r);
    }

    function axes(r) {
      const ways = [scale('lr'), scale(other, (r.recipe ? choice(r).values : {})[other])];
      const whole = (facts.hypers[other] || {}).whole, round = v => whole ? Math.round(v) : v;
      return {lr: i => ways[0].value((i + .5) / SIDE), other: j => round(ways[1].value((j + .5) / SIDE)), ways};
    }

    function compute(r) {
      const mine = ++job, axis = axes(r), base = hypersOf(r), {place} = playground;
      cells = Array.from({length: SIDE}, () => Array(SIDE).fill(null));
      let j = 0;
      const go = () => {
        if (mine !== job) return;
        const until = performance.now() + 30;
        while (j < SIDE && performance.now() < until) {
          for (let i = 0; i < SIDE; i++)
            cells[j][i] = score(walk(r, {...base, lr: axis.lr(i), [other]: axis.other(j)}, place));
          j++;
        }
        draw(r, axis);
        if (j < SIDE) setTimeout(go); else say(r, axis);
      };
      go();
    }

    function draw(r, axis) {
      const {ctx, width, height} = sized(canvas), all = cells.flat().filter(v => v !== null && Number.isFinite(v));
      const log = v => Math.log10(Math.max(v, 1e-12)), low = Math.min(...all.map(log)), high = Math.max(...all.map(log));
      const dx = width / SIDE, dy = height / SIDE;
      ctx.clearRect(0, 0, width, height);
      cells.forEach((line, j) => line.forEach((v, i) => {
        if (v === null) return;
        ctx.fillStyle = Number.isFinite(v) ? heat(1 - (log(v) - low) / (high - low || 1)) : '#222';
        ctx.fillRect(i * dx, height - (j + 1) * dy, dx + .5, dy + .5);
      }));
      const base = hypersOf(r), x = axis.ways[0].share(base.lr) * width, y = height - axis.ways[1].share(base[other]) * height;
      for (const [style, w] of [['#000', 4], ['#fff', 2]]) {
        Object.assign(ctx, {strokeStyle: style, lineWidth: w});
        ctx.beginPath();
        ctx.arc(x, y, 7, 0, 2 * Math.PI);
        ctx.stroke();
      }
      const ends = v => written(10 ** v);
      legend.replaceChildren(
        make('span', {}, `→ lr from ${written(axis.lr(0))} to ${written(axis.lr(SIDE - 1))}, ↑ ${other} from ${written(axis.other(0))} to ${written(axis.other(SIDE - 1))}. `),
        make('span', {class: 'scale', 'aria-hidden': 'true'}),
        make('span', {}, ` loss ${ends(high)} to ${ends(low)}; black: diverges. The ring is where the sliders are.`));
    }

    function say(r, axis) {
      let best = [0, 0];
      cells.forEach((line, j) => line.forEach((v, i) => { if (v < cells[best[1]][best[0]]) best = [i, j]; }));
      const [i, j] = best, share = cells.flat().filter(Number.isFinite).length / SIDE ** 2;
      said.textContent = `${r.name} comes furthest at lr = ${written(axis.lr(i))}, ${other} = ${written(axis.other(j))}: ` +
        `loss ${written(cells[j][i])}. ${Math.round(100 * share)} % of the map does not diverge.`;
      canvas.setAttribute('aria-label', `Heat map of the final loss. ${said.textContent}`);
    }

    canvas.addEventListener('click', e => {
      const r = current(), axis = axes(r), box = canvas.getBoundingClientRect();
      const i = Math.floor((e.clientX - box.left) / box.width * SIDE), j = SIDE - 1 - Math.floor((e.clientY - box.top) / box.height * SIDE);
      playground.set(r, {lr: Number(axis.lr(i).toPrecision(3)), [other]: Number(axis.other(j).toPrecision(4))});
      draw(r, axis);
    });
    return {element, update, refresh() { if (element.open) fill(); }};
  }

  genopt.heatMap = heatMap;
})(globalThis.genopt);
