// Invented characters for those who do not want to invent any: two examples of each of three classes,
// and a query of the first one.

const circle = (x, y, r, from = 0, turns = 1) =>
  Array.from({ length: 25 }, (_, i) => {
    const angle = 2 * Math.PI * (from + turns * i / 24);
    return [x + r * Math.cos(angle), y + r * Math.sin(angle)];
  }).flat();

const drawing = (...strokes) => ({ strokes, picture: null });

export const EXAMPLES = {
  classes: [
    [
      drawing([.5, .14, .5, .86], circle(.5, .36, .2), [.26, .74, .74, .74]),
      drawing([.53, .12, .5, .88], circle(.52, .34, .18, .1), [.3, .78, .72, .72]),
    ],
    [
      drawing([.2, .2, .78, .22, .24, .78, .8, .8], [.5, .08, .5, .24]),
      drawing([.18, .26, .8, .2, .22, .8, .76, .84], [.47, .1, .5, .27]),
    ],
    [
      drawing([.2, .82, .22, .3, .5, .14, .78, .3, .8, .82], [.22, .56, .79, .56]),
      drawing([.24, .86, .2, .34, .52, .18, .8, .34, .76, .84], [.2, .6, .78, .55]),
    ],
  ],
  query: drawing([.48, .1, .52, .9], circle(.49, .37, .21, .6), [.24, .72, .7, .76]),
};
