// The order of a list of parts, and the sentences for lists that make no optimizer, as order.py has them.
(function (genopt) {
  'use strict';
  const {facts, parts: functions} = genopt;
  const part = label => ({label, ...facts.parts[label], ...functions[facts.parts[label].fn]});
  const stem = name => name.replace(/^prev_/, '');

  class Order {
    constructor(listed) {
      this.listed = listed;
      this.stats = new Map(), this.done = [];
      this.makers = new Map(['param', 'grad', 'raw_grad', 'place'].map(name => [name, null]));
    }

    run() {
      for (const p of this.listed) {
        if (p.kind !== 'stat') continue;
        if (this.stats.has(p.out)) throw this.both(this.stats.get(p.out), p, 'keep', p.out);
        this.stats.set(p.out, p);
      }
      if (!this.listed.some(p => p.kind === 'step'))
        throw `[${this.listed.map(p => p.label).join(', ')}] has no step, so no parameter would move: ` +
          'add one, such as `sgd_step`';
      for (const p of this.listed)
        if (!(isShared(p) && this.done.some(q => q.label === p.label))) this.add(p, p);
      this.checkNewParamIsLast();
      this.checkHypers();
      return this.done;
    }

    add(p, listed) {
      for (const label of p.links) {
        const link = part(label), maker = this.makers.get(link.out);
        if (!maker || maker.label !== label) this.add(link, listed);
      }
      for (const name of p.reads) this.checkRead(name, p, listed);
      const other = this.stats.get(p.out) || this.makers.get(p.out);
      if (isShared(p) && other && other.label !== p.label) throw this.both(other, p, 'make', p.fn);
      if (p.kind === 'gate') {
        for (const q of this.done)
          if (q.kind === 'stat' && !q.isNumber)
            throw `\`${p.label}\` is a gate, and \`${q.label}\` before it has already remembered this ` +
              `step: put the gate before \`${q.label}\`, and what it reads before the gate`;
      }
      if (p.out === 'update') this.makers.set('new_param', p);
      this.makers.set(p.out, p);
      this.done.push(p);
    }

    checkRead(name, p, listed) {
      const before = name.startsWith('prev_') && this.stats.get(stem(name));
      if (!before && !this.makers.has(name))
        throw `\`${p.label}\` reads \`${name}\`` + this.whyUnread(name, p, listed);
    }

    whyUnread(name, p, listed) {
      const stat = stem(name), later = `put \`${listed.label}\` later`;
      if (name === 'update' || name === 'new_param') {
        const others = this.listed.some(q => q.kind === 'step' && q.label !== p.label);
        return ', and there is none before the first step: put it after one' +
          (others ? '' : ', such as `sgd_step`');
      }
      if (this.stats.has(name)) {
        const maker = this.stats.get(name), circle = maker.reads.includes(p.out);
        return ` before \`${maker.label}\` has updated it: ` + (circle ? '' : `${later}, or `) +
          `read \`prev_${name}\`, its value before this step`;
      }
      const shared = this.listed.flatMap(q => [q, ...q.links.map(part)]).filter(isShared);
      if (shared.some(q => q.out === name)) return ` before it is computed: ${later}`;
      const keeper = facts.keepers[stat];
      if (keeper) return `: add a stat that keeps it, such as \`${keeper}\`` + (stat === name ? ', before it' : '');
      return `, which no part keeps: add a @stat whose first argument is \`${stat}\` before it`;
    }

    checkNewParamIsLast() {
      let late = [];
      for (const p of this.done) {
        const early = late.filter(q => !p.reads.includes(q.out));
        if (p.out === 'update' && early.length) {
          const isLast = !this.done.some(q => q.reads.includes(early[0].out));
          throw `\`${early[0].label}\` reads \`new_param\` before \`${p.label}\` has changed the update: put it ` +
            (isLast ? 'last' : `after \`${p.label}\``);
        }
        const names = ['new_param', ...late.filter(q => q.kind === 'stat').map(q => q.out)];
        if (names.some(name => p.reads.includes(name))) late.push(p);
        if (p.out === 'update') late = [];
      }
    }

    checkHypers() {
      const made = new Set(this.done.map(p => p.out));
      for (const p of this.done)
        for (const name of Object.keys(p.hypers))
          if (made.has(name))
            throw `\`${p.label}\` calls a hyperparameter \`${name}\`, which is already a stat, a scalar or a ` +
              'tensor: give it another name, ' + withAnother(p, name);
    }

    both(first, second, verb, name) {
      return `\`${first.label}\` and \`${second.label}\` both ${verb} \`${second.out}\`: leave one out, or give ` +
        `one another name, ${withAnother(second, name)}`;
    }
  }

  const isShared = p => p.kind === 'scalar' || p.kind === 'total';

  function withAnother(p, name) {
    const names = p.names || {};
    const own = Object.keys(names).find(k => names[k] === name) || name;
    const shown = Object.entries(names).map(([k, v]) => [k, `'${v}'`]).filter(([k]) => k !== own);
    const at = Object.keys(names).indexOf(own);
    shown.splice(at < 0 ? shown.length : at, 0, [own, '...']);
    return `\`${p.fn}.rename(${shown.map(pair => pair.join('=')).join(', ')})\``;
  }

  // {parts, hypers, clashes} of a list of labels, or {error}. A hyperparameter without a default is null; on the
  // defaults of `clashes`, parts disagree, and the first one's stands.
  function compose(labels) {
    const listed = labels.map(part);
    try {
      const done = new Order(listed).run(), hypers = {}, clashes = [];
      for (const p of done) {
        for (const [name, value] of Object.entries(p.hypers)) {
          if (!(name in hypers) || hypers[name] === null) hypers[name] = value;
          else if (value !== null && value !== hypers[name]) clashes.push(name);
        }
      }
      return {parts: done, hypers, clashes};
    } catch (error) {
      if (typeof error !== 'string') throw error;
      return {error};
    }
  }

  // -- where parts go, as `recipe + parts` has it -------------------------------------------------

  const PLACE = facts.places;
  const readsOf = p => p.links.reduce((names, label) => names.concat(readsOf(part(label))), [...p.reads]);

  // A list with more parts, each put where it works. Those that it has already are left out, and a part with
  // a switch replaces those with the same one.
  function place(labels, added) {
    const switches = new Map(added.map(part).filter(p => p.switch).map(p => [p.switch, p.label]));
    const stays = label => (switches.get(part(label).switch) || label) === label;
    const more = added.filter(label => !labels.includes(label) && stays(label)).map(part);
    let list = labels.filter(stays).map(part);
    const ranks = new Map(list.map((p, i) => [p, ownPlace(p, list.slice(0, i), list)]));
    more.forEach((p, i) => ranks.set(p, newPlace(p, more.slice(i + 1), list)));
    for (const p of more) list = inserted(list, p, ranks);
    return list.map(p => p.label);
  }

  function ownPlace(p, before, list) {
    if (readsOf(p).includes('new_param')) return latePlace(p, list);
    if ([PLACE.GATES, PLACE.DECAY, PLACE.DECAYED].includes(p.place)) return p.place;
    const afterDecay = before.some(q => q.place === PLACE.DECAY);
    return afterDecay && p.reads.includes('update') ? PLACE.DECAYED : PLACE.RULE;
  }

  function newPlace(p, others, list) {
    if (readsOf(p).includes('new_param')) return latePlace(p, [...list, ...others]);
    if (p.isNumber && others.some(q => q.kind === 'gate')) return PLACE.GATES;
    const readers = others.filter(q => q.kind === 'transform' && q.reads.includes(p.out));
    return Math.min(p.place, ...(p.kind === 'stat' ? readers.map(q => q.place) : []));
  }

  const latePlace = (p, list) => p.kind === 'stat' &&
    !list.some(q => q.kind === 'step' && q.reads.includes(p.out)) ? PLACE.AVERAGES : PLACE.WEIGHTS;

  // The list with `p` at its place, or at the nearest one at which it works. Numbers that it reads move forward.
  function inserted(list, p, ranks) {
    let at = list.findIndex(q => ranks.get(q) > ranks.get(p));
    if (at < 0) at = list.length;
    const later = list.slice(at).filter(q => q.isNumber && q.kind === 'stat');
    const numbers = later.some(q => readsOf(p).includes(q.out)) ? later : [];
    const rest = list.filter(q => !numbers.includes(q));
    const distance = i => Math.abs(i - at) - (i > at ? .5 : 0);
    const places = [...Array(rest.length + 1).keys()].sort((i, j) => distance(i) - distance(j));
    const put = i => [...rest.slice(0, i), ...numbers, p, ...rest.slice(i)];
    const works = places.find(i => !compose(put(i).map(q => q.label)).error);
    numbers.forEach(q => ranks.set(q, ranks.get(p)));
    return put(works === undefined ? at : works);
  }

  Object.assign(genopt, {compose, place, partOf: part});
})(globalThis.genopt);
