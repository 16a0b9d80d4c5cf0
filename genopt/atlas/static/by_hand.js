// The parts that have no equation.
(function (genopt) {
  'use strict';
  const {Matrix, each, parts, tools: {norm, product, transposed}} = genopt;

  // In float64, where the part itself runs in bfloat16.
  parts.orthogonalize = {run(grad, ns_a, ns_b, ns_c, ns_steps, eps) {
    const tall = grad.rows > grad.columns, size = Math.max(norm(grad), eps);
    let x = each(g => g / size, tall ? transposed(grad) : grad);
    for (let i = 0; i < ns_steps; i++) {
      const gram = product(x, transposed(x));
      const square = each((a, aa) => ns_b * a + ns_c * aa, gram, product(gram, gram));
      x = each((x, y) => ns_a * x + y, x, product(square, x));
    }
    return tall ? transposed(x) : x;
  }};

  // Its draws are `env.normals`, or else come from the seed, the step and the element's place.
  parts.add_noise = {run(grad, place, count, size, seed, env) {
    const draws = env.normals || Float64Array.from(grad.data, (_, i) => genopt.normal(seed, count, i));
    return each((g, n) => g + size * n, grad, new Matrix(grad.rows, grad.columns, draws));
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
