// Descents: rules with values walk down surfaces. And the scales of sliders.
(function (genopt) {
  'use strict';
  const {facts, surfaces, begin, step, compose, vector, Matrix, normal} = genopt;
  const RATES = [-4, -3, -2, -1, 0].flatMap(e => [1, 2, 5].map(m => Number(`${m}e${e}`)));  // as paths.LRS
  const FAR = 1e6, rules = new Map();

  // The composition of a list of labels, made once. `without` are parts: a transform is left out, and of others
  // the result is 1.
  function rule(labels, without = []) {
    const key = [...labels, '-', ...without].join(' ');
    if (!rules.has(key)) {
      const whole = compose(labels), isOut = p => without.includes(p.fn);
      const parts = (whole.parts || []).filter(p => !(isOut(p) && p.kind === 'transform'));
      rules.set(key, {...whole, parts: parts.map(p => isOut(p) ? {...p, run: () => 1} : p)});
    }
    return rules.get(key);
  }

  // -- runs: {name, parts} or {name, recipe, options}, and values -----------------------------------

  function run(name, values = {}, options = {}) {
    const recipe = facts.recipes[name];
    const res = {name, recipe, options: {...recipe.options, ...options}, values: {}, tuned: !('lr' in values), first: values};
    Object.assign(res.values, values);
    return res;
  }

  const asChoice = v => typeof v === 'number' ? (v ? .9 : 0) : v;

  // What its options choose. Options that do not go together, as `nesterov` without momentum, wait.
  function choice({recipe, options}) {
    const matches = c => Object.keys(options).filter(k => c.options[k] === asChoice(options[k]));
    const weight = c => matches(c).reduce((sum, k) => sum + (typeof options[k] === 'number' ? 10 : 1), 0);
    return recipe.choices.reduce((best, c) => weight(c) > weight(best) ? c : best);
  }

  const partsOf = r => r.recipe ? choice(r).parts : r.parts;

  // The hyperparameters of a run as it is, with their values.
  function hypersOf(r) {
    const own = r.recipe ? choice(r).values : {};
    const all = {...own, ...rule(partsOf(r)).hypers}, res = {};
    for (const k of Object.keys(facts.hypers)) {
      if (!(k in all)) continue;
      res[k] = r.values[k] ?? (r.options || {})[k] ?? own[k] ?? all[k] ?? fallback(k);
    }
    return res;
  }

  const fallback = k => k === 'lr' ? .01 : facts.hypers[k].high === 1 ? .9 : 1;

  // -- walking ------------------------------------------------------------------------------------

  // {points, losses, diverged}
  function walk(r, hypers, place) {
    const {surface, start, steps, seed = 0} = place, {height, slope} = surfaces[surface];
    const {noise} = facts.surfaces[surface], composition = rule(partsOf(r), r.without);
    const far = FAR * Math.max(1, ...start.map(Math.abs));
    const array = composition.parts.some(p => p.needs === 'matrix') ?
      values => new Matrix(1, 2, Float64Array.from(values)) : vector;
    let param = array(start), state = begin(composition, param, hypers);
    const points = [start], losses = [height(...start)];
    for (let t = 0; t < steps; t++) {
      const slopes = slope(...param.data);
      if (noise) slopes.forEach((g, i) => { slopes[i] = g + noise * normal(seed, t, i); });
      ({param, state} = step(composition, param, array(slopes), state, hypers));
      const [x, y] = param.data, loss = height(x, y);
      if (!(Math.abs(x) < far && Math.abs(y) < far && Number.isFinite(loss)))
        return {points, losses, diverged: true};
      points.push([x, y]);
      losses.push(loss);
    }
    return {points, losses, diverged: false};
  }

  // The mean loss over the last tenth of the steps; infinite if the path diverged.
  function score({losses, diverged}) {
    if (diverged) return Infinity;
    const last = losses.slice(-Math.max(1, Math.floor((losses.length - 1) / 10)));
    return last.reduce((a, b) => a + b, 0) / last.length;
  }

  // The best of RATES, as `descend` finds it.
  function bestRate(r, place) {
    const hypers = hypersOf(r), scores = RATES.map(lr => score(walk(r, {...hypers, lr}, place)));
    return RATES[scores.indexOf(Math.min(...scores))];
  }

  const pathOf = (r, place) => walk(r, hypersOf(r), place);

  function tune(r, place) {
    if (r.tuned && 'lr' in hypersOf(r)) r.values.lr = bestRate(r, place);
  }

  // -- scales -------------------------------------------------------------------------------------

  const power = (low, high, hasZero) => ({
    value: s => hasZero && s <= .02 ? 0 : low * (high / low) ** (hasZero ? (s - .02) / .98 : s),
    share: v => v <= low ? 0 : Math.min(1, (hasZero ? .02 : 0) + (hasZero ? .98 : 1) *
      Math.log(v / low) / Math.log(high / low)),
  });
  const linear = (low, high) => ({
    value: s => low + (high - low) * s, share: v => Math.min(1, Math.max(0, (v - low) / (high - low)))});
  const decay = {value: s => 1 - 10 ** (-4 * s), share: v => Math.min(1, -Math.log10(1 - v) / 4)};

  // From a share in [0, 1] of a slider's way to a value of the hyperparameter, and back.
  function scale(name, standard) {
    const {low = -Infinity, high, most, whole} = facts.hypers[name] || {}, d = Math.abs(standard || 0);
    if (name === 'lr') return power(1e-4, 10, false);
    if (whole) return linear(low, Math.max(10, low + 10));
    if (high === 1) return decay;
    if (most !== undefined) return linear(Number.isFinite(low) ? low : Math.min(-1, 1.5 * standard), most);
    if (low === 0) return power(d ? d / 1e3 : 1e-4, d ? d * 1e3 : 10, true);
    if (low === 1) return linear(1, Number.isFinite(d) ? Math.max(2, 2 * d) : 2);
    return d ? linear(Math.min(0, 2 * standard), Math.max(0, 2 * standard)) : linear(-1, 1);
  }

  function written(v) {
    if (v === 0) return '0';
    const digits = Math.abs(v) >= .9 && Math.abs(v) < 1 ? 5 : 3, short = Number(v.toPrecision(digits));
    const text = Math.abs(v) < 1e-4 || Math.abs(v) >= 1e5 ? String(short.toExponential()) : String(short);
    return text.replace('e+', 'e').replace('-', '−');
  }

  Object.assign(genopt, {run, choice, partsOf, hypersOf, walk, pathOf, tune, score, scale, written, rule, RATES});
})(globalThis.genopt);
