// The playground: a surface, and the paths of some runs, which follow their sliders.
(function (genopt) {
  'use strict';
  const {facts, make, button, select, controls, run, tune, pathOf, written, color, sized, frame, drawSurface, drawMargin,
    drawPath, drawStart, heatMap, listed} = genopt;
  const DASHES = [[], [7, 4], [2, 4], [10, 3, 2, 3]];
  const still = matchMedia('(prefers-reduced-motion: reduce)');

  const titleOf = r => r.without && r.without.length ? `${r.name} without ${listed(r.without)}` : r.name;

  class Playground {
    // `given`: runs; `fixed`: nothing can be added or taken away.
    constructor(element, given, {fixed = false, surface = 'rosenbrock'} = {}) {
      this.place = {surface, start: [...facts.surfaces[surface].start], steps: 200, seed: 0};
      Object.assign(this, {element, fixed, runs: [], background: null});
      this.build();
      given.forEach(r => this.add(r));
      this.play();
      new ResizeObserver(() => this.redraw()).observe(this.canvas);
      new MutationObserver(() => this.redraw()).observe(document.body, {attributeFilter: ['data-theme']});
      matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.redraw());
    }

    build() {
      this.canvas = make('canvas', {class: 'map', role: 'img', tabindex: 0});
      this.summary = make('p', {class: 'summary', 'aria-live': 'polite'});
      this.list = make('div', {class: 'runs'});
      const surfaces = Object.entries(facts.surfaces).map(([k, s]) => [k, s.title]);
      this.steps = make('input', {type: 'range', min: 10, max: 1000, step: 10, value: this.place.steps,
        oninput: () => this.setSteps(Number(this.steps.value))});
      this.stepsShown = make('output', {}, String(this.place.steps));
      this.coordinates = ['x', 'y'].map((name, i) => make('input', {type: 'number', step: .1,
        'aria-label': `start, ${name}`, value: this.place.start[i],
        onchange: () => this.setStart(this.coordinates.map(c => Number(c.value) || 0))}));
      const bar = make('div', {class: 'bar'},
        select('surface', surfaces, this.place.surface, s => this.setSurface(s)),
        make('label', {class: 'field'}, make('span', {}, 'steps'), this.steps, this.stepsShown),
        make('span', {class: 'field'}, make('span', {}, 'start'), ...this.coordinates),
        button('Play', () => this.play()));
      const more = this.fixed ? null : make('p', {class: 'more'},
        select('add', [['', 'an optimizer …'], ...genopt.moving()], '',
          name => name && this.addNamed(name)));
      const left = make('div', {class: 'left'}, bar, this.canvas, this.summary);
      this.right = make('div', {class: 'right'}, this.list, more);
      this.heat = heatMap(this);
      this.element.replaceChildren(left, this.right, this.heat.element);
      this.element.classList.add('ready');
      this.listen();
    }

    listen() {
      const move = e => {
        const box = this.canvas.getBoundingClientRect();
        this.setStart(this.frame().from(e.clientX - box.left, e.clientY - box.top)
          .map(v => Number(v.toPrecision(3))));
      };
      this.canvas.addEventListener('pointerdown', e => { this.canvas.setPointerCapture(e.pointerId); move(e); });
      this.canvas.addEventListener('pointermove', e => { if (this.canvas.hasPointerCapture(e.pointerId)) move(e); });
      this.canvas.addEventListener('keydown', e => {
        const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[e.key];
        if (!way) return;
        e.preventDefault();
        const {bounds} = facts.surfaces[this.place.surface];
        this.setStart(this.place.start.map((v, i) =>
          Number((v + way[i] * (bounds[i][1] - bounds[i][0]) / 40).toPrecision(3))));
      });
    }

    frame() { return frame(this.place.surface, this.canvas.clientWidth, this.canvas.clientHeight); }

    // -- what changes ---------------------------------------------------------------------------------

    setSurface(surface) {
      Object.assign(this.place, {surface, start: [...facts.surfaces[surface].start]});
      this.background = null;
      this.showStart();
      for (const r of this.runs) this.retune(r);
      this.play();
    }

    setStart(start) {
      this.place.start = start;
      this.showStart();
      this.walkAll();
    }

    showStart() { this.coordinates.forEach((c, i) => { c.value = this.place.start[i]; }); }

    setSteps(steps) {
      this.place.steps = steps;
      this.stepsShown.textContent = steps;
      this.walkAll();
    }

    addNamed(name) {
      this.add(run(name));
      this.draw();
    }

    add(r) {
      tune(r, this.place);
      r.color = [0, 1, 2, 3, 4, 5].find(i => !this.runs.some(q => q.color === i)) ?? this.runs.length;
      r.panel = controls(r, name => this.changed(r, name));
      const head = make('summary', {}, make('span', {class: 'swatch'}), r.title = make('b'), ' ', r.end = make('span', {class: 'end'}));
      const reset = button('Reset', () => this.reset(r), {'aria-label': `Reset ${r.name}`});
      const away = this.fixed ? null : button('Remove', () => this.remove(r), {'aria-label': `Remove ${r.name}`});
      r.box = make('details', {class: 'run', open: this.runs.length < 1}, head, r.panel.element,
        make('p', {class: 'buttons'}, reset, away));
      this.runs.push(r);
      this.list.append(r.box);
      this.walk(r);
      this.heat.update();
      return r;
    }

    remove(r) {
      this.runs = this.runs.filter(q => q !== r);
      r.box.remove();
      this.heat.update();
      this.draw();
    }

    reset(r) {
      r.values = {...r.first};
      r.without = [];
      Object.assign(r.options || {}, r.recipe ? r.recipe.options : {});
      r.tuned = true;
      r.panel.rebuild();
      this.retune(r);
      this.walkAll();
    }

    retune(r) {
      tune(r, this.place);
      r.panel.show('lr');
      this.walk(r);
    }

    changed(r, name) {
      if (name === 'lr') r.tuned = false;
      this.walk(r);
      for (const q of this.runs) q.follow?.(r);
      this.draw();
      this.onchange?.(r, name);
    }

    // Sets values of a run, as its sliders would.
    set(r, values) {
      Object.assign(r.values, values);
      for (const k of Object.keys(values)) {
        if (k in (r.options || {})) r.options[k] = values[k];
        if (k === 'lr') r.tuned = false;
      }
      r.panel.rebuild();
      this.changed(r, '');
    }

    // -- paths ------------------------------------------------------------------------------------------

    walk(r) { r.path = pathOf(r, this.place); }

    walkAll() {
      for (const r of this.runs) this.walk(r);
      this.draw();
    }

    play() {
      if (still.matches) { this.draw(); return; }
      const begin = performance.now(), longest = () => Math.max(1, ...this.runs.map(r => r.path.points.length));
      cancelAnimationFrame(this.playing);
      const frame = now => {
        const share = Math.max(0, Math.min(1, (now - begin) / 1600));  // a frame may have begun before
        this.draw(share < 1 ? Math.max(1, Math.ceil(longest() * share ** 1.5)) : undefined);
        if (share < 1) this.playing = requestAnimationFrame(frame);
      };
      this.draw(1);
      this.playing = requestAnimationFrame(frame);
    }

    redraw() {
      this.background = null;
      this.draw();
    }

    draw(count) {
      if (count === undefined) cancelAnimationFrame(this.playing);
      if (!this.canvas.clientWidth) return;
      const {ctx, width, height} = sized(this.canvas), {to} = this.frame();
      if (!this.background) {
        this.background = make('canvas', {width: this.canvas.width, height: this.canvas.height});
        const back = this.background.getContext('2d');
        back.scale(this.canvas.width / width, this.canvas.height / height);
        drawSurface(back, this.place.surface, width, height);
      }
      ctx.drawImage(this.background, 0, 0, width, height);
      const seen = this.runs.map(r => r.path.points.slice(0, count).map(to));
      seen.forEach(points => drawMargin(ctx, points));
      this.runs.forEach((r, i) => drawPath(ctx, seen[i], color(r.color), DASHES[i % DASHES.length]));
      drawStart(ctx, to(this.place.start));
      for (const r of this.runs) {
        r.box.style.setProperty('--color', color(r.color));
        r.title.textContent = titleOf(r);
        r.end.textContent = r.path.diverged ? 'diverges' : `loss ${written(r.path.losses.at(-1))}`;
      }
      if (count === undefined) this.say();
    }

    say() {
      const {surface, steps} = this.place, ends = this.runs.map(r => r.path.diverged ?
        `${titleOf(r)} diverges after ${r.path.points.length} steps` : `${titleOf(r)} reaches ${written(r.path.losses.at(-1))}`);
      const text = `${facts.surfaces[surface].title}, loss after ${steps} steps: ${ends.join('; ')}.`;
      this.summary.textContent = text[0].toUpperCase() + text.slice(1);
      this.canvas.setAttribute('aria-label', `Map of the surface with the paths. Arrow keys move the start.`);
    }
  }

  genopt.Playground = Playground;
})(globalThis.genopt);
