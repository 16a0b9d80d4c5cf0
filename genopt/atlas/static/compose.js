// The page to compose: a list of parts, their lines, the error if there is one, the path, and the code.
(function (genopt) {
  'use strict';
  const {facts, make, button, select, compose, place, nearest, edit, python, tune, hypersOf, Playground} = genopt;
  const root = document.getElementById('composer'), KINDS = ['stat', 'transform', 'step', 'gate'];
  let parts = [], base = 'Adam';

  const list = make('ol', {class: 'pieces'}), message = make('p', {class: 'message', role: 'status'});
  const code = make('code'), ground = make('div', {class: 'playground'});
  const mine = {name: 'Yours', options: {}, values: {}, first: {}, tuned: true, get parts() { return valid; }};
  let valid = [], playground = null;

  function start() {
    const hash = decodeURIComponent(location.hash.slice(1));
    if (hash.startsWith('+')) load('Adam'), hash.slice(1) in facts.parts && !facts.parts[hash.slice(1)].isStill && put([hash.slice(1)]);
    else if (hash.includes('=')) restore(hash); else load(genopt.moving().includes(hash) ? hash : 'Adam');
  }

  function load(name) {
    base = name;
    const {parts: own, values} = facts.recipes[name].choices[0];
    mine.values = Object.fromEntries(Object.entries(values).filter(([k, v]) => v !== null && k !== 'lr'));
    mine.first = {...mine.values};
    mine.tuned = true;
    change([...own]);
  }

  function restore(hash) {
    const labels = hash.slice(hash.indexOf('=') + 1).split('|').filter(label => label in facts.parts && !facts.parts[label].isStill);
    load('Adam');
    if (labels.length) change(labels);
  }

  const put = labels => change(place(parts, labels));

  function change(labels) {
    parts = labels;
    const found = compose(parts);
    if (!found.error) valid = [...parts];
    list.replaceChildren(...parts.map(piece));
    message.textContent = found.error ? `${found.error}.` : kin();
    message.classList.toggle('error', Boolean(found.error));
    root.classList.toggle('broken', Boolean(found.error));
    code.textContent = found.error ? `# ${found.error}` : text();
    if (!found.error && playground) refresh();
  }

  function refresh() {
    mine.panel.rebuild();
    tune(mine, playground.place);
    mine.panel.show('lr');
    playground.walk(mine);
    playground.heat.update();
    playground.draw();
    code.textContent = text();
  }

  function kin() {
    const near = nearest(parts);
    if (near.far < .5) return `This is ${near.title}.`;
    const said = edit({...near, name: near.title, values: {}}, {name: 'This', parts, values: {}});
    return `${said}.`;
  }

  function piece(label, i) {
    const p = facts.parts[label], move = by => {
      const labels = [...parts];
      labels.splice(i, 1);
      labels.splice(i + by, 0, label);
      change(labels);
      list.children[i + by].querySelector(`[data-move="${by}"]`).focus();
    };
    const away = () => {
      change(parts.filter((_, k) => k !== i));
      (list.children[Math.min(i, parts.length - 1)] || list).querySelector('button')?.focus();
    };
    return make('li', {class: `piece ${p.kind}`},
      make('span', {class: 'what'}, make('a', {href: `parts/${p.fn}.html`}, make('code', {}, label)), make('small', {}, p.kind)),
      make('span', {class: 'line', html: p.math}),
      make('span', {class: 'buttons'},
        button('↑', () => move(-1), {'aria-label': `Move ${label} up`, 'data-move': -1, disabled: i === 0}),
        button('↓', () => move(1), {'aria-label': `Move ${label} down`, 'data-move': 1, disabled: i === parts.length - 1}),
        button('×', away, {'aria-label': `Take ${label} away`})));
  }

  // -- the code ---------------------------------------------------------------------------------------

  function called(label) {
    const {fn, names} = facts.parts[label];
    const given = Object.entries(names || {}).map(([k, v]) => `${k}='${v}'`);
    return given.length ? `${fn}.rename(${given.join(', ')})` : fn;
  }

  function text() {
    const functions = [...new Set(parts.map(label => facts.parts[label].fn))];
    const values = Object.entries(hypersOf(mine)).map(([k, v]) => `${k}=${python(v)}`);
    const wrapped = (items, indent) => items.reduce((lines, item) => {
      const line = `${lines.at(-1)}${lines.at(-1).trim() ? ' ' : ''}${item},`;
      return line.length > 88 ? [...lines, `${indent}${item},`] : [...lines.slice(0, -1), line];
    }, [indent]).join('\n').slice(0, -1);
    return `from genopt import Optimizer\nfrom genopt.parts import (\n${wrapped(functions, '    ')})\n\n` +
      `parts = [\n${wrapped(parts.map(called), '    ')}]\n` +
      `opt = Optimizer(model.parameters(), parts,\n${wrapped(values, '                ')})\n`;
  }

  async function copy(e) {
    await navigator.clipboard.writeText(code.textContent);
    e.target.textContent = 'Copied';
    setTimeout(() => { e.target.textContent = 'Copy'; }, 1500);
  }

  // -- the page ---------------------------------------------------------------------------------------

  function adders() {
    const moves = label => !facts.parts[label].isStill;
    const of = kind => Object.keys(facts.parts).filter(label => facts.parts[label].kind === kind && moves(label));
    const modifiers = Object.keys(facts.modifiers).filter(name => facts.modifiers[name].every(moves));
    const picked = make('select', {onchange() { if (picked.value) put([picked.value]); picked.value = ''; }},
      make('option', {value: ''}, 'a part …'),
      ...KINDS.map(kind => make('optgroup', {label: `${kind}s`}, ...of(kind).map(label => make('option', {value: label}, label)))));
    return make('div', {class: 'bar'},
      select('begin with', genopt.moving(), base, load, {id: 'base'}),
      make('label', {class: 'field'}, make('span', {}, 'add'), picked),
      select('modify', [['', 'by …'], ...modifiers], '', name => name && put(facts.modifiers[name])));
  }

  function build() {
    start();
    root.replaceChildren(adders(), message, list, ground,
      make('div', {class: 'code'}, button('Copy', copy), make('pre', {tabindex: 0}, code)));
    playground = new Playground(ground, [mine], {surface: 'rosenbrock', fixed: true});
    playground.onchange = () => { code.textContent = text(); };
    code.textContent = compose(parts).error ? code.textContent : text();
    addEventListener('hashchange', start);
  }

  root.composed = () => parts;
  genopt.afterPaint(build);
})(globalThis.genopt);
