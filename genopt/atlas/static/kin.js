// What lists of parts share, and how one is made of another, as members.py says it.
(function (genopt) {
  'use strict';
  const {facts, written} = genopt;

  // The labels that only `a` has, and those that only `b` has.
  function difference(a, b) {
    const rest = (from, gone) => {
      const left = [...gone];
      return from.filter(x => { const i = left.indexOf(x); if (i >= 0) left.splice(i, 1); return i < 0; });
    };
    return [rest(a, b), rest(b, a)];
  }

  const distance = (a, b) => difference(a, b).flat().length;
  const names = labels => labels.length < 2 ? labels.join('') :
    `${labels.slice(0, -1).join(', ')} and ${labels.at(-1)}`;

  // "AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0". Members are {name, parts, values}.
  function edit(a, b) {
    const [gone, more] = difference(a.parts, b.parts), changes = [];
    if (gone.length) changes.push(`without ${names(gone)}`);
    if (more.length) changes.push(`with ${names(more)}`);
    const kept = (m, other) => m.parts.filter(x => other.parts.includes(x)).join(' ');
    if (kept(a, b) !== kept(b, a)) changes.push('in another order');
    const values = Object.entries(b.values).filter(([k, v]) => k in a.values && v !== null && a.values[k] !== null &&
      v !== a.values[k]).map(([k, v]) => `${k} = ${written(v)}, not ${written(a.values[k])}`);
    return [`${b.name} is ${a.name} ${changes.join(', ') || 'in all its parts'}`, ...values].join('; ');
  }

  // All that is in the lists, each item once, as nearly as possible in their order.
  function merged(lists) {
    const res = [];
    for (const list of lists) {
      let at = 0;
      for (const x of list) {
        if (!res.includes(x)) res.splice(at, 0, x);
        at = Math.max(at, res.indexOf(x) + 1);
      }
    }
    return res;
  }

  // The recipes that pages can run. Others read matrices, or more than a gradient.
  const moving = () => Object.keys(facts.recipes).filter(name => !facts.recipes[name].isStill);

  const member = (name, c = facts.recipes[name].choices[0]) => ({name, parts: c.parts, values: c.values});

  // The recipe, with the options, that is nearest to a list of parts.
  function nearest(parts) {
    let best = null;
    for (const [name, recipe] of Object.entries(facts.recipes)) {
      for (const c of recipe.choices) {
        const options = Object.entries(c.options).filter(([k, v]) => v !== recipe.options[k]);
        const far = distance(c.parts, parts) + (c.parts.join() === parts.join() ? 0 : .5) + options.length / 100;
        const call = options.map(([k, v]) => `${k}=${python(v)}`).join(', ');
        if (!best || far < best.far) best = {far, name, title: call ? `${name}(${call})` : name, ...member(name, c)};
      }
    }
    return best;
  }

  const python = v => v === true ? 'True' : v === false ? 'False' : v === null ? 'None' : typeof v === 'string' ? `'${v}'` : String(v);

  Object.assign(genopt, {difference, distance, edit, merged, member, moving, nearest, python, listed: names});
})(globalThis.genopt);
