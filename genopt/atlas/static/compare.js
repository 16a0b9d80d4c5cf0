// The page that compares optimizers: their parts side by side, the edits between them, and their paths.
(function (genopt) {
  'use strict';
  const {facts, make, button, select, edit, merged, member, written, run, Playground} = genopt;
  const root = document.getElementById('comparison'), STANDARD = ['RMSprop', 'Adam', 'AdamW'];
  const fn = label => facts.parts[label].fn;
  let names = [], playground = null;

  function start() {
    const asked = decodeURIComponent(location.hash.slice(1)).split(',').filter(n => n in facts.recipes);
    names = asked.length > 1 ? asked : asked.length ? [asked[0], ...STANDARD.filter(n => n !== asked[0]).slice(-1)] : STANDARD;
    show();
  }

  function choose(list) {
    names = list;
    history.replaceState(null, '', `#${names.join(',')}`);
    show();
  }

  function show() {
    const members = names.map(name => member(name)), ground = make('div', {class: 'playground'});
    root.replaceChildren(chips(), table(members), sentences(members), ground);
    playground = new Playground(ground, names.map(name => run(name)), {fixed: true});
    root.playground = playground;
  }

  function chips() {
    const list = names.map(name => make('li', {}, make('a', {href: `recipes/${name.toLowerCase()}.html`}, name),
      names.length > 1 ? button('×', () => choose(names.filter(n => n !== name)), {'aria-label': `Take ${name} away`}) : ''));
    const others = Object.keys(facts.recipes).filter(n => !names.includes(n));
    return make('div', {class: 'bar'}, make('ul', {class: 'chips chosen'}, ...list),
      select('add', [['', 'an optimizer …'], ...others], '', name => name && choose([...names, name])));
  }

  const isOff = (m, label) => facts.parts[label].switch && m.values[facts.parts[label].switch] === 0;
  const idea = label => facts.parts[label].idea || fn(label);

  function cell(m, f) {
    const found = m.parts.filter(label => fn(label) === f).map(label => {
      const names = Object.entries(facts.parts[label].names || {}).map(pair => pair.join('=')).join(', ');
      const off = isOff(m, label), mark = (text, said) => make('span', {role: 'img', 'aria-label': said}, text);
      return [off ? mark('○', 'has it, off') : names ? '' : mark('●', 'has it'), names ? make('code', {}, names) : ''];
    });
    return make('td', {class: 'dot'}, ...found.flatMap((marks, i) => [i ? ', ' : '', ...marks]));
  }

  function table(members) {
    const functions = merged(members.map(m => m.parts.map(fn)));
    const first = f => members.flatMap(m => m.parts).find(label => fn(label) === f);
    const head = make('tr', {}, make('th', {scope: 'col'}, 'part'), ...members.map(m => make('th', {scope: 'col', class: 'dot'}, m.name)),
      make('th', {scope: 'col'}, 'equation'));
    const rows = functions.map(f => make('tr', {}, make('th', {scope: 'row'}, make('a', {href: `parts/${f}.html`}, make('code', {}, f))),
      ...members.map(m => cell(m, f)), make('td', {html: facts.parts[first(f)].math})));
    const hypers = Object.keys(facts.hypers).filter(k => members.some(m => k in m.values)).map(k => make('tr', {},
      make('th', {scope: 'row'}, make('code', {}, k)), ...members.map(m => make('td', {class: 'dot'},
        k in m.values ? m.values[k] === null ? 'must be given' : written(m.values[k]) : '')), make('td', {}, facts.hypers[k].doc)));
    return make('div', {class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Parts and hyperparameters'},
      make('table', {class: 'parts'}, make('thead', {}, head), make('tbody', {}, ...rows), make('tbody', {}, ...hypers)));
  }

  function sentences(members) {
    const functions = merged(members.map(m => m.parts.map(fn)));
    const own = m => m.parts.filter(label => !isOff(m, label)).map(idea);
    const common = [...new Set(functions.map(idea))].filter(i => members.every(m => own(m).includes(i)));
    const shared = common.map(i => functions.filter(f => idea(f) === i).join(' or '));
    const off = members.flatMap(m => m.parts.filter(label => isOff(m, label)));
    const switches = [...new Set(off.map(label => facts.parts[label].switch))];
    const like = (b, a) => facts.likeness[b.name][a.name];
    const nearest = i => members.slice(0, i).reduce((a, b) => like(members[i], b) > like(members[i], a) ? b : a);
    const said = members.length > 1 ? [shared.length ? `Shared by all: ${shared.join(', ')}.` : 'No part is shared by all.'] : [];
    said.push(...switches.map(k => `Off (○) where ${k} = 0: ` +
      `${functions.filter(f => off.some(label => fn(label) === f && facts.parts[label].switch === k)).join(', ')}.`));
    const edits = members.slice(1).map((m, i) => `${edit(nearest(i + 1), m)}.`);
    const item = html => make('li', {html: `${html}.`}), text = s => make('li', {}, s);
    return make('div', {'aria-live': 'polite'}, make('ul', {}, ...said.map(text), ...known(functions).map(item), ...edits.map(text)));
  }

  // What they are of each other at special values; and which of their parts are one idea.
  function known(functions) {
    const ideas = Object.entries(facts.ideas).filter(([pair]) => pair.split(' ').every(f => functions.includes(f)));
    const standard = (name, given) => Object.entries(facts.recipes[name].options).every(([k, v]) => !(k in given) || given[k] === v);
    const found = facts.identities.filter(i => i.recipe !== i.other && names.includes(i.recipe) && names.includes(i.other) &&
      standard(i.recipe, i.where) && standard(i.other, i.given));
    const same = (a, b) => a.recipe === b.recipe && a.other === b.other;
    return [...ideas.map(([, html]) => `${html}: one idea`),
      ...found.filter(i => i.isPlain || !found.some(j => j.isPlain && same(i, j))).map(i => i.html)];
  }

  addEventListener('hashchange', start);
  genopt.afterPaint(start);
})(globalThis.genopt);
