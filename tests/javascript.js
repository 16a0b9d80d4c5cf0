// Walks compositions down surfaces. Arguments: a file of cases, and the scripts of the atlas in order.
const fs = require('fs'), vm = require('vm');
const [, , cases, ...scripts] = process.argv;
for (const path of scripts) vm.runInThisContext(fs.readFileSync(path, 'utf8'), path);
const {Matrix, compose, place, begin, step, surfaces} = globalThis.genopt;

function walk({parts, hypers, surface, start, shape, steps, normals}) {
  const rule = compose(parts);
  if (rule.error) return rule;
  const [rows, columns] = shape.length > 1 ? shape : [1, shape[0]], path = [];
  const array = values => new Matrix(rows, columns, Float64Array.from(values), shape.length);
  let param = array(start);
  let state = begin(rule, param, hypers);
  for (let t = 0; t < steps; t++) {
    const slope = array(surfaces[surface].slope(...param.data));
    ({param, state} = step(rule, param, slope, state, hypers, {normals: normals && normals[t]}));
    path.push([...param.data].map(String));
  }
  return {path};
}

const DO = {
  walk,
  errors: ({parts}) => ({error: compose(parts).error || ''}),
  order: ({parts}) => ({order: (compose(parts).parts || []).map(p => p.label)}),
  place: ({parts, add}) => ({parts: place(parts, add)}),
};
const asked = JSON.parse(fs.readFileSync(cases, 'utf8'));
process.stdout.write(JSON.stringify(asked.map(c => DO[c.do](c))));
