// Begins the playgrounds of a page, and the list of identities beside one.
(function (genopt) {
  'use strict';
  const {facts, make, run, hypersOf, scales, Playground} = genopt;

  genopt.afterPaint(() => document.querySelectorAll('.playground').forEach(begin));

  function begin(element) {
    const {optimizers = '', optimizer} = element.dataset, names = optimizer ? [optimizer] : optimizers.split(' ');
    const playground = element.playground = new Playground(element, names.map(name => run(name)));
    if (optimizer) showIdentities(playground, optimizer);
  }

  // Buttons that give the run its special values, beside the path of the one that it then is.
  function showIdentities(playground, name) {
    const found = facts.identities.filter(i => i.recipe === name);
    if (!found.length) return;
    const buttons = found.map(i => make('button', {type: 'button', html: i.html, onclick: () => overlay(playground, i)}));
    playground.right.append(make('section', {class: 'identities', 'aria-label': 'Identities'},
      make('h4', {}, 'It is another one when …'), ...buttons));
  }

  // What is special: another hyperparameter's name, or 0 or 1. Any other number only says that it is not 0.
  const valueOf = (k, v, own) => typeof v === 'string' ? own[v] : v === 0 || v === 1 ? v : own[k] ?? v;

  function overlay(playground, identity) {
    const mine = playground.runs[0];
    for (const r of playground.runs.filter(r => r.follow)) playground.remove(r);
    for (const k of Object.keys(mine.options)) mine.options[k] = mine.recipe.options[k];
    const values = {};
    for (const [k, v] of Object.entries(identity.where)) {
      if (k in mine.options && typeof v === 'boolean') mine.options[k] = v;
      else if (typeof v === 'string' && !(k in mine.options)) values[k] = hypersOf(mine)[v];
      else if (k in mine.options) mine.options[k] = v;
      if (typeof v === 'number') values[k] = v;
    }
    const options = Object.fromEntries(Object.entries(identity.given).filter(([k]) => k in facts.recipes[identity.other].options));
    const other = run(identity.other, {lr: 1}, options);
    other.follow = () => {
      const own = hypersOf(mine), its = hypersOf(other);
      for (const k of Object.keys(its)) if (k in own && !(k in identity.given)) other.values[k] = own[k];
      for (const [k, v] of Object.entries(identity.given)) if (k in its) other.values[k] = valueOf(k, v, own) ?? its[v];
      if ('lr' in own) other.values.lr = own.lr * scales[identity.factor](own);
      other.panel?.rebuild();
      if (other.panel) playground.walk(other);
    };
    mine.without = identity.without;
    other.without = identity.itsWithout;
    playground.set(mine, values);
    playground.retune(mine);
    other.follow();
    playground.add(other);
    other.follow();
    playground.draw();
  }
})(globalThis.genopt);
