// The part that has no equation, as it draws random numbers.
(function (genopt) {
  'use strict';
  const {Matrix, each, parts} = genopt;

  // Its draws are `env.normals`, or else come from the seed, the step and the element's place.
  parts.add_noise = {run(grad, place, count, size, seed, env) {
    const draws = env.normals || Float64Array.from(grad.data, (_, i) => genopt.normal(seed, count, i));
    return each((g, n) => g + size * n, grad, new Matrix(grad.rows, grad.columns, draws, grad.dim));
  }};

  // A number from the normal distribution, the same for the same whole numbers.
  genopt.normal = function (...key) {
    let h = 2166136261;
    for (const k of key) h = Math.imul(h ^ k, 16777619) ^ (h >>> 13);
    const uniform = () => {
      h = h + 0x6D2B79F5 | 0;
      let t = Math.imul(h ^ h >>> 15, 1 | h);
      t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
      return ((t ^ t >>> 14) >>> 0) / 4294967296;
    };
    return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  };
})(globalThis.genopt);
