// The family: buttons that make it larger and smaller, and a page that is dragged.
(function (genopt) {
  'use strict';
  const {button, make} = genopt;
  for (const frame of document.querySelectorAll('.family')) {
    const svg = frame.querySelector('svg'), {width} = svg.viewBox.baseVal;
    const fitting = () => Math.max(frame.clientWidth, Math.min(width, 700)) - 2;
    let size = fitting();
    const zoom = by => {
      const middle = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
      const before = size;
      size = by ? Math.min(3 * width, Math.max(frame.clientWidth - 2, size * by)) : fitting();
      svg.style.width = `${size}px`;
      frame.classList.toggle('zoomed', size > fitting() + 1);
      frame.scrollLeft = middle[0] * size / before - frame.clientWidth / 2;
      frame.scrollTop = middle[1] * size / before - frame.clientHeight / 2;
    };
    zoom(0);
    frame.before(make('p', {class: 'buttons zoom'}, button('Larger', () => zoom(1.3)), button('Smaller', () => zoom(1 / 1.3)),
      button('Fit', () => zoom(0))));
    frame.addEventListener('wheel', e => {
      if (!e.ctrlKey) return;
      e.preventDefault();
      zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15);
    }, {passive: false});
    let held = null;
    frame.addEventListener('pointerdown', e => {
      if (e.pointerType === 'mouse' && !e.target.closest('a')) held = [e.clientX + frame.scrollLeft, e.clientY + frame.scrollTop];
    });
    frame.addEventListener('pointermove', e => {
      if (held) [frame.scrollLeft, frame.scrollTop] = [held[0] - e.clientX, held[1] - e.clientY];
    });
    addEventListener('pointerup', () => { held = null; });
  }
})(globalThis.genopt);
