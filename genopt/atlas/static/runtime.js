// The plain engine, for pages: arrays of rows and columns, and the walk down an ordered list of parts.
// `parts.js` has the parts, printed from Python. A vector is a row of one dimension, and a number stands for
// an array of equal elements.
globalThis.genopt = globalThis.genopt || {};
(function (genopt) {
  'use strict';

  class Matrix {
    constructor(rows, columns, data, dim = 2) { Object.assign(this, {rows, columns, data, dim}); }
  }

  const isMatrix = x => x instanceof Matrix;
  const vector = values => new Matrix(1, values.length, Float64Array.from(values), 1);

  // One element after another, where a row, a column or a number is repeated as in NumPy.
  function each(f, ...args) {
    let rows = 0, columns = 0, dim = 1;
    for (const a of args) {
      if (!isMatrix(a)) continue;
      rows = Math.max(rows, a.rows);
      columns = Math.max(columns, a.columns);
      dim = Math.max(dim, a.dim);
    }
    if (!rows) return f(...args);
    const out = new Float64Array(rows * columns), at = new Array(args.length);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        for (let k = 0; k < args.length; k++) {
          const a = args[k];
          at[k] = isMatrix(a) ? a.data[(a.rows > 1 ? i * a.columns : 0) + (a.columns > 1 ? j : 0)] : a;
        }
        out[i * columns + j] = f(...at);
      }
    }
    return new Matrix(rows, columns, out, dim);
  }

  // -- reductions ---------------------------------------------------------------------------------

  const numbers = x => isMatrix(x) ? x.data : [x];
  const sum = x => numbers(x).reduce((a, b) => a + b, 0);
  const mean = x => sum(x) / numbers(x).length;
  const largest = x => Math.max(...numbers(x));
  const smallest = x => Math.min(...numbers(x));
  const norm = x => Math.hypot(...numbers(x));

  function byRow(f) {
    return x => isMatrix(x) ? new Matrix(x.rows, 1, Float64Array.from({length: x.rows}, (_, i) =>
      f(vector(x.data.subarray(i * x.columns, (i + 1) * x.columns))))) : f(x);
  }

  function transposed(x) {
    if (!isMatrix(x)) return x;
    const turned = (_, k) => x.data[(k % x.rows) * x.columns + Math.floor(k / x.rows)];
    return new Matrix(x.columns, x.rows, Float64Array.from({length: x.data.length}, turned));
  }

  function product(a, b) {
    if (!isMatrix(a) || !isMatrix(b)) return each((a, b) => a * b, a, b);
    const out = new Matrix(a.rows, b.columns, new Float64Array(a.rows * b.columns));
    for (let i = 0; i < a.rows; i++)
      for (let j = 0; j < b.columns; j++)
        for (let k = 0; k < a.columns; k++)
          out.data[i * b.columns + j] += a.data[i * a.columns + k] * b.data[k * b.columns + j];
    return out;
  }

  const rowMean = byRow(mean), rowNorm = byRow(norm);
  const columnMean = x => transposed(rowMean(transposed(x)));
  function nearest(x) {  // halves to even, as in Python
    const r = Math.round(x);
    return Math.abs(x % 1) === .5 && r % 2 ? r - 1 : r;
  }

  // -- a step -------------------------------------------------------------------------------------

  // A rule is {parts, stats}. A part has: run, args, out, kind; a stat begin, beginArgs, isNumber too.

  function begin(rule, param, hypers) {
    const env = {...hypers, param}, state = {};
    for (const p of rule.parts)
      if (p.kind === 'stat') state[p.out] = p.begin(...p.beginArgs.map(name => env[name]));
    return state;
  }

  const isOff = (part, env) =>
    part.switch && env[part.switch] === 0 && !(part.kind === 'step' && env.update === undefined);

  function put(env, part, out) {
    if (part.kind === 'step' && env.update !== undefined)
      out = each((update, change) => update + change, env.update, out);
    env[part.out] = out;
    if (part.kind === 'step' || part.out === 'update')
      env.new_param = each((param, update) => param + update, env.param, env.update);
  }

  // The new parameter and the new state. `given` has what else parts may read, as `noise`.
  function step(rule, param, grad, state, hypers, given) {
    const env = {...hypers, ...given, param, grad, raw_grad: grad, place: 0};
    for (const name in state) env['prev_' + name] = state[name];
    for (const part of rule.parts) {
      if (isOff(part, env)) continue;
      const out = part.run(...part.args.map(name => env[name]), env);
      if (part.kind === 'gate' && !out) break;
      put(env, part, out);
    }
    return {param: env.new_param ?? param, state: kept(rule, state, env)};
  }

  function kept(rule, state, env) {
    const res = {};
    for (const name in state) res[name] = name in env ? env[name] : state[name];
    return res;
  }

  Object.assign(genopt, {
    Matrix, vector, each, begin, step, parts: {}, surfaces: {}, scales: {},
    tools: {each, sum, mean, largest, smallest, norm, rowMean, rowNorm, columnMean, product, transposed,
            nearest},
  });
})(globalThis.genopt);
