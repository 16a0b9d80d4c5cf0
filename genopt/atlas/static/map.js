// A surface on a canvas: bands and contours, paths, and a heat map.
(function (genopt) {
  'use strict';
  const {facts, surfaces} = genopt;
  const GRID = 90, LEVELS = 16;
  const COLORS = {light: ['#0072B2', '#C44E00', '#00795A', '#A8518A', '#8A6100', '#4C5FB5'],
                  dark: ['#56B4E9', '#FF9A5C', '#2BC795', '#E79AC6', '#E6B84C', '#A9B6FF']};

  const isDark = () => {
    const theme = document.body.dataset.theme;
    return theme === 'dark' || theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches;
  };
  const color = i => { const all = COLORS[isDark() ? 'dark' : 'light']; return all[i % all.length]; };
  const style = name => getComputedStyle(document.body).getPropertyValue(name).trim();

  function sized(canvas) {
    const ratio = window.devicePixelRatio || 1, {clientWidth: width, clientHeight: height} = canvas;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const ctx = canvas.getContext('2d');
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    return {ctx, width, height};
  }

  // Between points of a surface and of a canvas.
  function frame(surface, width, height) {
    const [[x0, x1], [y0, y1]] = facts.surfaces[surface].bounds;
    return {to: ([x, y]) => [(x - x0) / (x1 - x0) * width, (y1 - y) / (y1 - y0) * height],
            from: (px, py) => [x0 + px / width * (x1 - x0), y1 - py / height * (y1 - y0)]};
  }

  const grids = new Map();
  // The heights at (GRID + 1)² points, and the levels of contours: closer together where it is low.
  function grid(surface) {
    if (!grids.has(surface)) {
      const {from} = frame(surface, GRID, GRID), {height} = surfaces[surface];
      const z = Array.from({length: GRID + 1}, (_, j) =>
        Float64Array.from({length: GRID + 1}, (_, i) => height(...from(i, j))));
      const sorted = z.flatMap(r => [...r]).sort((a, b) => a - b);
      const levels = Array.from({length: LEVELS}, (_, k) =>
        sorted[Math.floor(sorted.length * ((k + 1) / (LEVELS + 1)) ** 1.4)]);
      grids.set(surface, {z, levels});
    }
    return grids.get(surface);
  }

  // The sides of a cell that a level crosses, as a segment (marching squares; saddles are cut once).
  function segment(corners, level) {
    const found = [];
    const sides = [[0, 1], [1, 2], [2, 3], [3, 0]], at = [[0, 0], [1, 0], [1, 1], [0, 1]];
    for (const [a, b] of sides) {
      const u = corners[a] - level, v = corners[b] - level;
      if (u < 0 === v < 0) continue;
      const s = u / (u - v);
      found.push([at[a][0] + s * (at[b][0] - at[a][0]), at[a][1] + s * (at[b][1] - at[a][1])]);
    }
    return found;
  }

  // Darker the higher, as a small picture.
  function bands(z, levels) {
    const small = document.createElement('canvas'), side = small.width = small.height = GRID + 1;
    const ctx = small.getContext('2d');
    ctx.fillStyle = style('--atlas-map');
    ctx.fillRect(0, 0, side, side);
    ctx.fillStyle = style('--atlas-band');
    z.forEach((line, j) => line.forEach((v, i) => {
      ctx.globalAlpha = .85 * levels.filter(l => l < v).length / LEVELS;
      ctx.fillRect(i, j, 1, 1);
    }));
    return small;
  }

  function drawSurface(ctx, surface, width, height) {
    const {z, levels} = grid(surface), dx = width / GRID, dy = height / GRID;
    ctx.imageSmoothingEnabled = true;
    ctx.drawImage(bands(z, levels), .5, .5, GRID, GRID, 0, 0, width, height);
    ctx.strokeStyle = style('--atlas-contour');
    ctx.lineWidth = .8;
    ctx.beginPath();
    for (const level of levels) {
      for (let j = 0; j < GRID; j++) {
        for (let i = 0; i < GRID; i++) {
          const ends = segment([z[j][i], z[j][i + 1], z[j + 1][i + 1], z[j + 1][i]], level);
          for (let k = 0; k + 1 < ends.length; k += 2) {
            ctx.moveTo((i + ends[k][0]) * dx, (j + ends[k][1]) * dy);
            ctx.lineTo((i + ends[k + 1][0]) * dx, (j + ends[k + 1][1]) * dy);
          }
        }
      }
    }
    ctx.stroke();
    const {to} = frame(surface, width, height);
    for (const minimum of facts.surfaces[surface].minima) cross(ctx, to(minimum));
  }

  function cross(ctx, [x, y]) {
    ctx.strokeStyle = style('--color-foreground-primary');
    ctx.lineWidth = 2;
    ctx.beginPath();
    for (const s of [-1, 1]) { ctx.moveTo(x - 5, y - 5 * s); ctx.lineTo(x + 5, y + 5 * s); }
    ctx.stroke();
  }

  function line(ctx, seen, width, stroke, dash) {
    Object.assign(ctx, {strokeStyle: stroke, lineWidth: width, lineJoin: 'round'});
    ctx.setLineDash(dash);
    ctx.beginPath();
    seen.forEach((p, i) => i ? ctx.lineTo(...p) : ctx.moveTo(...p));
    ctx.stroke();
    ctx.setLineDash([]);
  }

  // Below all paths, a margin of each, so that it can be seen on contours.
  const drawMargin = (ctx, seen) => line(ctx, seen, 5, style('--atlas-map'), []);

  // A line with a dot for each step where there is room.
  function drawPath(ctx, seen, stroke, dash) {
    line(ctx, seen, 2.4, stroke, dash);
    ctx.fillStyle = stroke;
    let last = [NaN, NaN];
    for (const [x, y] of seen) {
      if (Math.hypot(x - last[0], y - last[1]) < 6) continue;
      last = [x, y];
      disc(ctx, last, 2.4);
    }
    ctx.strokeStyle = style('--atlas-map');
    ctx.lineWidth = 1.5;
    disc(ctx, seen[seen.length - 1], 5.5);
    ctx.stroke();
  }

  function disc(ctx, [x, y], radius) {
    ctx.beginPath();
    ctx.arc(x, y, radius, 0, 2 * Math.PI);
    ctx.fill();
  }

  function drawStart(ctx, [x, y]) {
    ctx.strokeStyle = style('--color-foreground-primary');
    ctx.fillStyle = style('--atlas-map');
    ctx.lineWidth = 2;
    disc(ctx, [x, y], 6);
    ctx.stroke();
  }

  // From dark to light, as in viridis.
  const HEAT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  function heat(share) {
    const at = Math.min(.999, Math.max(0, share)) * (HEAT.length - 1), i = Math.floor(at);
    return `rgb(${HEAT[i].map((c, k) => Math.round(c + (at - i) * (HEAT[i + 1][k] - c))).join(' ')})`;
  }

  Object.assign(genopt, {isDark, color, sized, frame, drawSurface, drawMargin, drawPath, drawStart, heat});
})(globalThis.genopt);
