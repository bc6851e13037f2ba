// The charts of a stream or a session: bitrate, RTT and loss of the last two minutes.

import { Chart } from "./chart.js";
import { bitrate, millis, percent } from "./numbers.js";

const networks = [{ name: "caller’s network", className: "caller" }, { name: "yours", className: "backend" }];

export class Charts {
  // ways are the names of the two lines of the bitrate; rates and quality are hints on
  // the values.
  constructor(host, { ways, rates, quality }) {
    this.all = [
      new Chart({
        title: "Bitrate", text: bitrate, least: 1000, hint: rates,
        lines: [{ name: ways[0], className: "in" }, { name: ways[1], className: "out" }],
      }),
      new Chart({ title: "RTT", text: millis, least: 4, hint: quality, lines: networks }),
      new Chart({ title: "Loss", text: percent, least: 0.4, hint: quality, lines: networks }),
    ];
    host.append(...this.all.map((chart) => chart.node));
  }

  // set takes the values of each line, oldest first, and the present values: bitrate, RTT
  // and loss, two lines each. step is the time between two values, in seconds.
  set(lists, now, step) {
    this.all.forEach((chart, i) => chart.set(lists.slice(2 * i, 2 * i + 2), now.slice(2 * i, 2 * i + 2), step));
  }
}
