// Elements of pages, and the sliders of a run.
(function (genopt) {
  'use strict';
  const {facts, choice, hypersOf, scale, written} = genopt;
  let count = 0;

  // An element: its attributes, `on...` among them, and what is in it.
  function make(tag, attributes = {}, ...children) {
    const el = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes)) {
      if (k.startsWith('on')) el.addEventListener(k.slice(2), v);
      else if (k === 'html') el.innerHTML = v;
      else if (v !== false && v !== undefined) el.setAttribute(k, v === true ? '' : v);
    }
    el.append(...children.filter(c => c !== undefined && c !== null));
    return el;
  }

  const button = (text, click, attributes = {}) => make('button', {type: 'button', onclick: click, ...attributes}, text);

  function select(label, values, value, change, attributes = {}) {
    const picked = () => {
      const {value: now} = input;
      if (values[0][0] === '') input.value = '';  // a list of things to do
      change(now);
    };
    const input = make('select', {onchange: picked, ...attributes},
      ...values.map(v => Array.isArray(v) ? v : [v, v]).map(([v, text]) => make('option', {value: v, selected: v === value}, text)));
    return make('label', {class: 'field'}, make('span', {}, label), input);
  }

  // {element, show}: a slider with its letter, its name and its value.
  function slider(name, value, standard, change) {
    const way = scale(name, standard), about = facts.hypers[name] || {symbol: name}, id = `slider-${++count}`;
    const shown = make('output', {for: id});
    const read = () => {
      const v = way.value(input.value / 1000);
      return about.whole ? Math.round(v) : Number(v.toPrecision(about.high === 1 && v > .9 ? 5 : 3));
    };
    const show = v => {
      shown.textContent = written(v);
      input.setAttribute('aria-valuetext', written(v));
    };
    const put = v => { input.value = Math.round(1000 * way.share(v)); show(v); };
    const input = make('input', {type: 'range', id, min: 0, max: 1000, step: 1, 'data-hyper': name,
      title: about.doc || name, oninput: () => { const v = read(); show(v); change(v); }});
    put(value);
    const label = make('label', {for: id, title: about.doc || ''},
      make('span', {class: 'letter', 'aria-hidden': 'true', html: about.math || name}), make('span', {class: 'name'}, name));
    return {element: make('div', {class: 'slider'}, label, input, shown), show: put};
  }

  // The controls of a run's options and hyperparameters. `changed(name)` is called after each change.
  function controls(run, changed) {
    const options = make('div', {class: 'sliders'}), hypers = make('div', {class: 'sliders'});
    const element = make('div', {}, options, hypers), shown = new Map();
    function fill() {
      const standards = {...run.first, ...(run.recipe ? choice(run).values : {})};
      hypers.replaceChildren();
      shown.clear();
      for (const [k, v] of Object.entries(hypersOf(run))) {
        if (k in (run.options || {})) continue;
        const s = slider(k, v, standards[k], v => { run.values[k] = v; changed(k); });
        shown.set(k, s);
        hypers.append(s.element);
      }
    }
    function put(k, v) {
      const before = choice(run);
      run.options[k] = v;
      if (typeof v === 'number') run.values[k] = v;
      if (choice(run) !== before) fill();
      changed(k);
    }
    function option(k) {
      const v = run.options[k];
      if (typeof v === 'boolean') {
        const input = make('input', {type: 'checkbox', checked: v, 'data-hyper': k});
        input.onchange = () => put(k, input.checked);
        return make('label', {class: 'check'}, input, ` ${k}`);
      }
      if (typeof v === 'number') {
        const s = slider(k, v, run.recipe.options[k], x => put(k, x));
        shown.set(k, s);
        return s.element;
      }
      const values = [...new Set(run.recipe.choices.map(c => c.options[k]))];
      return select(k, values.map(x => [JSON.stringify(x), x === null ? 'none' : x]), JSON.stringify(v),
        x => put(k, JSON.parse(x)));
    }
    function rebuild() {
      options.replaceChildren(...Object.keys(run.options || {}).map(option));
      fill();
    }
    rebuild();
    return {element, rebuild, show(k) { shown.get(k)?.show(hypersOf(run)[k]); }};
  }

  // Once the page is seen.
  const afterPaint = f => requestAnimationFrame(() => setTimeout(f));

  Object.assign(genopt, {afterPaint, make, button, select, slider, controls});
})(globalThis.genopt);
