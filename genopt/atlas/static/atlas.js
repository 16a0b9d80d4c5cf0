// Begins the playgrounds of a page.
(function (genopt) {
  'use strict';
  for (const element of document.querySelectorAll('.playground')) {
    const {optimizers = '', optimizer} = element.dataset, names = optimizer ? [optimizer] : optimizers.split(' ');
    element.playground = new genopt.Playground(element, names.map(name => genopt.run(name)));
  }
})(globalThis.genopt);
