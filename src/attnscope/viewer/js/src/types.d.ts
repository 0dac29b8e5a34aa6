// What the parts of the viewer hand to one another. The manifest is described in ../../README.md.
import type { AttentionMap } from "./attention.js";
import type { Colouring } from "./colours.js";
import type { Store } from "./data.js";
import type { Actions } from "./actions.js";
import type { Messages } from "./messages.js";
import type { Names } from "./names.js";
import type { PatchGrid } from "./patches.js";
import type { Pointer } from "./pointer.js";
import type { ColourScheme } from "./scheme.js";
import type { Selection } from "./selection.js";
import type { Views } from "./views.js";

// The manifest -------------------------------------------------------------------------------------------------------

export interface Manifest {
  title: string;
  about: string;
  detail: "full" | "pooled" | "thumbnails";
  error: number;
  notes: string[];
  runs: string[];
  samples: Sample[];
  tokens: LabelList[];
  sites: Site[];
  /** axes[sample][site]: the numbers of two lists of labels; null where the site does not run on the sample. */
  axes: ([rows: number, columns: number] | null)[][];
  relevance: Relevance[];
  palette: Record<"light" | "dark", Omit<Palette, "dark" | "heads">>;
  ramps: Record<string, string>;
}

export interface Sample {
  name: string;
  /** What each run says of it. */
  runs: RunSample[];
  image: { width: number; height: number; rows: number; columns: number; first: number } | null;
}

export interface RunSample {
  input: string | null;
  output: string | null;
  label: string | null;
}

/** What is shown of a method's relevance for one target. */
export interface Relevance {
  /** Method, unit and target, for each sample. */
  words: string[];
  /** How many positions it is of. */
  count: number;
  /** The end of its scale on either side of 0. */
  maximum: number;
  /** starts[sample][site]: the key that its first position is; null where the keys are other positions. */
  starts: (number | null)[][];
}

export interface LabelList {
  labels: string[];
  invalid: number[];
  segments: number[];
  grid: Grid | null;
}

export interface Site {
  name: string;
  /** What it is called where there is little room. */
  short: string;
  run: number;
  layer: string;
  role: string;
  /** What says whether it is self- or cross-attention: where its queries and keys come from, its name, or how many there are. */
  told_by: "lineage" | "name" | "";
  panels: string[];
  /** What its queries and its keys are: tokens, features, steps, patches, positions... */
  units: Record<Side, string>;
}

export type Grid = [rows: number, columns: number, first: number];

// What is looked at --------------------------------------------------------------------------------------------------

export type ViewName = "overview" | "matrix" | "lines" | "text" | "image" | "compare";
export type Scale = "linear" | "sqrt" | "log";
export type Range = "one" | "all" | "site" | "head";
export type Aggregate = "mean" | "max";
export type Direction = "from" | "to";
export type Theme = "auto" | "light" | "dark";
export type Overlay = "light" | "colour";
export type Side = "query" | "key";
/** A head, or what is computed from the chosen ones. */
export type Panel = number | Aggregate;

export interface State {
  view: ViewName;
  sample: number;
  site: number;
  panel: Panel;
  heads: number[];
  query: number;
  key: number;
  direction: Direction;
  scale: Scale;
  range: Range;
  ramp: string;
  theme: Theme;
  zoom: Region | null;
  segments: string;
  search: string;
  role: string;
  means: boolean;
  a: MapChoice | null;
  b: MapChoice | null;
  overlay: Overlay;
  strength: number;
}

/** What a link, a program or a control says: nothing of it need be right. */
export type Changes = { [Name in keyof State]?: unknown };

export interface MapChoice {
  sample: number;
  site: number;
  panel: Panel;
}

/** One panel, or those that an aggregate is over. */
export type PanelRequest = number | Partial<Record<Aggregate, number[]>>;

export interface MapRequest {
  sample: number;
  site: number;
  panel: PanelRequest;
}

export interface Region {
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

export type Span = [from: number, to: number];

/** The queries and keys between which the chosen sentences lie. */
export interface Window {
  rows: Span;
  columns: Span;
}

export interface Picked {
  side: Side;
  place: number;
}

/** A query and a key; -1 for none. */
export interface CellPlace {
  row: number;
  column: number;
}

// Maps ---------------------------------------------------------------------------------------------------------------

export interface Tokens {
  labels: string[];
  invalid: Set<number>;
  segments: number[];
  grid: Grid | null;
}

export interface SiteTokens {
  queries: Tokens;
  keys: Tokens;
}

/** A number and how certain it is: `value` is off by `bound` at most, and below it where `kind` says so. */
export type Cell = KnownCell | { value: number | undefined; kind: "odd"; bound: number };

export interface KnownCell {
  value: number;
  kind: "exact" | "coded" | "below" | "masked" | "pooled";
  bound: number;
}

/** How much of a map is known: all of it, only the strongest of each row besides its blocks, or its blocks alone. */
export type Known = "all" | "strongest" | "none";

/** What a map is made of. The grid is that of `values` and `codes`: the map's own unless it is pooled. */
export interface MapFields {
  rows: number;
  columns: number;
  gridRows: number;
  gridColumns: number;
  /** Row by row; 0 where masked, NaN where odd. Of a pooled map, the largest of each block. */
  values: Float32Array;
  codes: Uint8Array;
  /** The exact mean of each column over the valid queries; NaN where unknown. */
  received: Float32Array;
  /** Whether each value is the largest of a block of so many rows and columns. */
  pooled?: boolean;
  poolRows?: number;
  poolColumns?: number;
  known?: Known;
  /** Whether it is a difference. */
  signed?: boolean;
  /** A sentence on what was computed, or "". */
  note?: string;
  maximum?: number;
  scale?: Float32Array;
  levels?: Uint8Array;
  /** What the cells are that are no weights, by row x columns + column. */
  odd?: Map<number, number>;
  /** How many weights of each row are exact, and for a pooled map where and what they are. */
  exact?: number;
  position?: Uint16Array | Uint32Array;
  weight?: Float32Array;
  /** The largest error of a row, where it does not follow from `scale` and `levels`. */
  rowBound?: Float32Array | null;
}

export interface Shape {
  rows: number;
  columns: number;
  panels: number;
}

export interface Thumbnail {
  rows: number;
  columns: number;
  codes: Uint8Array;
  scale: number;
  mapRows: number;
  mapColumns: number;
}

/** What one token gives to each of the other side, or gets from it. */
export interface TokenWeights {
  weights: Float32Array;
  masked: Uint8Array;
  blocks: boolean;
  partial: boolean;
}

/** Where blocks come from: the page itself, a server, or Python. */
export interface BlockSource {
  block(name: string): Promise<Uint8Array<ArrayBuffer>>;
}

// Drawing ------------------------------------------------------------------------------------------------------------

export type Rgb = [red: number, green: number, blue: number];
/** As CSS writes it, or as three numbers up to 255. */
export type Colour = string | Rgb;

export interface Palette {
  dark: boolean;
  page: string;
  card: string;
  ink: string;
  quiet: string;
  line: string;
  accent: string;
  masked: string;
  hatch: string;
  nan: string;
  /** One for each head whose lines are drawn together. */
  heads: string[];
}

export interface TextStyle {
  size?: number;
  mono?: boolean;
  weight?: number;
  fill?: Colour;
  align?: "left" | "center" | "right";
  rotate?: number;
  maxWidth?: number;
  opacity?: number;
}

/** All lengths are in CSS pixels. */
export interface Painter {
  theme: Palette;
  rect(x: number, y: number, width: number, height: number, fill: Colour, opacity?: number): void;
  frame(x: number, y: number, width: number, height: number, stroke: Colour, thickness?: number, opacity?: number): void;
  line(x1: number, y1: number, x2: number, y2: number, stroke: Colour, thickness?: number, opacity?: number): void;
  curve(x1: number, y1: number, x2: number, y2: number, stroke: Colour, thickness?: number, opacity?: number): void;
  text(text: string, x: number, y: number, style?: TextStyle): void;
  /** Pixels, each drawn as a rectangle of one colour. */
  image(pixels: Uint8ClampedArray<ArrayBuffer>, width: number, height: number, x: number, y: number, drawnWidth: number, drawnHeight: number, opacity?: number): void;
  /** A picture, drawn smoothly. */
  photo(source: ImageBitmap, x: number, y: number, width: number, height: number, opacity?: number): void;
  /** What is masked. */
  hatch(x: number, y: number, width: number, height: number): void;
  /** What is no weight. */
  cross(x: number, y: number, width: number, height: number): void;
  clipped(x: number, y: number, width: number, height: number, draw: () => void): void;
  moved(x: number, y: number, draw: () => void): void;
}

export interface Picture {
  width: number;
  height: number;
  draw(painter: Painter): void;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Point {
  x: number;
  y: number;
}

/** Where colours lead: from a number to its colour. */
export type ColourOf = (value: number, maximum: number) => Rgb;

/** A mark of the legend: its name, what it means, and how its swatch is painted. */
export type Mark = [name: string, text: string, paint: (painter: Painter) => void];

export interface LegendContent {
  maximum: number;
  signed: boolean;
  /** What the end of the scale is. */
  end: string;
  title: string;
  marks: Mark[];
}

/** The colour scale below a saved picture. */
export interface ScaleStrip {
  maximum: number;
  signed: boolean;
  text: string;
}

// The parts of the viewer --------------------------------------------------------------------------------------------

export interface View {
  element: HTMLElement;
  draw(): void | Promise<void>;
  /** Whether the key was the view's own. */
  key(event: KeyboardEvent): boolean;
  /** What a saved picture shows; null where there is nothing yet. */
  picture(): Picture | null;
  dispose(): void;
  /** The map whose largest weight may end the scale. */
  map?(): AttentionMap | null;
  /** What its colours and marks are. */
  legend?(): Partial<LegendContent>;
  /** What a saved picture is of. */
  describe?(): string;
  /** Whether it stays when a drawing fails. */
  keeps?: boolean;
}

/** Where the viewer is shown. */
export interface Place {
  root: HTMLElement;
  /** Whether the page around it is somebody else's, such as a notebook. */
  embedded: boolean;
}

/** All that parts of the viewer know of one another; each takes what it needs. */
export interface Parts {
  manifest: Manifest;
  place: Place;
  store: Store;
  selection: Selection;
  colours: ColourScheme;
  names: Names;
  pointer: Pointer;
  messages: Messages;
  views: Views;
  legend: Legend;
  actions: Actions;
}

export interface Legend {
  element: HTMLElement;
  draw(): void;
  strip(): ScaleStrip;
}

export interface MountOptions {
  /** The state to begin with. */
  state?: Changes;
  /** Who is told of each state. */
  onState?: (state: State) => void;
  /** Who is given a picture of what is shown, once it stays. */
  onPicture?: (picture: Blob) => void;
  /** Whether the state is in the page's address, and the page is ours alone. */
  hash?: boolean;
}

export interface Mounted {
  dispose(): void;
  set(changes: Changes): void;
}

// One map large ------------------------------------------------------------------------------------------------------

/** The labels along a side: which are padding, found by the search, and pinned. */
export interface AxisLabels {
  labels: string[];
  invalid: Set<number>;
  marked: Set<number>;
  pinned: number;
}

/** What a chart is painted from. */
export interface MapContent {
  map: AttentionMap;
  maximum: number;
  colouring: Colouring;
  axes: Record<Side, AxisLabels>;
}

/** A part of a map as dots: masked ones are transparent. */
export interface Raster extends RasterFound {
  pixels: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
  /** The cell that the first dot begins with, and how many cells each dot covers. */
  x: number;
  y: number;
  cellsAcross: number;
  cellsDown: number;
}

export interface RasterFound {
  masked: boolean;
  /** The dots without a weight. */
  odd: number[];
}

/** Along one axis: the stored values from `start` to `end`, so many to each of `count` dots, which cover `cells` each. */
export interface RasterAxis {
  start: number;
  end: number;
  step: number;
  count: number;
  cells: number;
}

export interface RasterDrawing {
  colouring: Pick<Colouring, "packed">;
  maximum: number;
  nan: number;
}

/** The cells in which A exceeds B most and in which it falls short of it most; null where it never does. */
export interface Extremes {
  more: (CellPlace & { value: number }) | null;
  less: (CellPlace & { value: number }) | null;
}

// All heads ----------------------------------------------------------------------------------------------------------

export interface GridCell extends Box {
  site: number;
  panel: Panel;
  column: number;
}

export interface GroupName {
  site: number;
  name: string;
  /** What stands below it. */
  under: string;
  x: number;
  y: number;
  width: number;
  align: "left" | "right";
}

export interface OverviewLayout {
  width: number;
  height: number;
  sites: number[];
  cells: GridCell[];
  /** The names of sites. */
  groups: GroupName[];
  /** The numbers of heads. */
  labels: { text: string; x: number; y: number }[];
}

// Lines --------------------------------------------------------------------------------------------------------------

/** A head whose lines are drawn. */
export interface LinesHead {
  map: AttentionMap;
  maximum: number;
  colour: string;
  colourOf: (value: number) => Rgb;
}

export interface LinesContent {
  heads: LinesHead[];
  tokens: SiteTokens;
  scale: Scale;
  within: Window;
  /** What the search found. */
  found: Record<Side, Set<number>>;
}

/** One side of a lines layout: its tokens, the room for their labels, how far it is scrolled, and where its strip stands. */
export interface LinesSide {
  count: number;
  labelWidth: number;
  offset: number;
  strip: number;
  labels: string[];
  invalid: Set<number>;
}

export interface Line {
  row: number;
  column: number;
  value: number;
  colour: string;
  /** Where the value stands on the scale, from 0 to 1. */
  share: number;
}

/** Why a token's label is written before others, and the number beside it. */
export interface LineNote {
  rank: number;
  text: string;
  picked?: boolean;
  cell?: Cell;
}

/** What one head gives to each token across from the picked one, or gets from it. */
export interface LineStrip extends TokenWeights {
  map: AttentionMap;
  maximum: number;
  colourOf: (value: number) => Rgb;
  /** Tokens with a weight, the largest first. */
  places: number[];
}

export interface LinesDrawing {
  picked: Picked | null;
  /** From the weakest to the strongest. */
  lines: Line[];
  counts: { drawn: number; total: number; least: number; largestLeft: number };
  strips: LineStrip[];
  notes: Record<Side, Map<number, LineNote>>;
  found: Record<Side, Set<number>>;
}

/** What is written at the edges for tokens that are scrolled away. */
export interface LineEdges {
  chips: Map<number, { y: number; arrow: string }>;
  more: { y: number; text: string }[];
}

// Text and pictures --------------------------------------------------------------------------------------------------

/** The weights that tokens of one side are coloured by. */
export interface ShownWeights {
  side: Side;
  weights: Float32Array;
  masked: Uint8Array;
  /** Whether 0 may stand for a weight that is not stored. */
  partial: boolean;
  /** Whether each weight is the largest of its block. */
  blocks: boolean;
  /** Whether there is nothing to colour by. */
  unknown: boolean;
  /** Whether it is what each key receives. */
  received: boolean;
  maximum: number;
  within: Span;
}

/** The relevance of the keys of a map, on one sample. */
export interface ShownRelevance {
  words: string;
  maximum: number;
  /** One for each key; 0 outside of `within`, where the key is none of the positions. */
  values: Float32Array;
  masked: Uint8Array;
  within: Span;
}

/** What rows of relevance are painted over. */
export interface RelevanceContent {
  list: Tokens;
  start: number;
  size: number;
  found: Set<number>;
  photo: ImageBitmap | null;
  /** What the keys are called: tokens, features... */
  units: string;
  /** Of the room for patches; null where they are tokens among others. */
  width: number | null;
  strength: number;
  page?: (start: number) => void;
}

export interface ShownTokens extends ShownWeights {
  coloured: boolean;
  /** Whether the colours are around 0. */
  signed?: boolean;
  colourOf: (value: number) => Rgb;
  /** The token whose weights are shown; -1 for none. */
  source: number;
  pinned: boolean;
  found: Set<number>;
  theme: Palette;
  /** What assistive programs say of a token. */
  spoken: (place: number) => string;
}

/** Class names, fill and ink; no fill where there is no weight to colour by. */
export interface TokenLook {
  kind: string;
  fill: string;
  ink: string;
}

export interface ParagraphListener {
  /** -1 where no token is pointed at. */
  hover: (place: number) => void;
  click: (place: number) => void;
  page: (start: number) => void;
}

export interface PictureChip extends Box {
  place: number;
}

export interface PictureLayout {
  width: number;
  height: number;
  chips: PictureChip[];
  panels: Box[];
}

export interface ShownPatches extends ShownWeights {
  grid: PatchGrid;
  labels: string[];
  photo: ImageBitmap | null;
  coloured: boolean;
  colourOf: (value: number) => Rgb;
  scale: Scale;
  overlay: Overlay;
  strength: number;
  /** Whether the colours are around 0: over a picture they are the stronger the larger the number. */
  signed?: boolean;
  /** Of the picture, and of the patches beside it. */
  captions?: [over: string, alone: string];
}

export interface PatchMarks {
  source: { grid: PatchGrid; place: number } | null;
  pinned: boolean;
  /** Places of the grid's side. */
  found: Set<number>;
}

/** A patch that is pointed at, and where in the picture as shares of its sides; nowhere for a token that is no patch. */
export interface PointedPatch extends Picked {
  across?: Point;
}

// Controls -----------------------------------------------------------------------------------------------------------

/** A choice of a control: its value, and what it is called. */
export type Option = [value: string | number, name: string, title?: string];

export interface OptionGroup {
  group: string;
  options: Option[];
}

export interface Search {
  element: HTMLElement;
  /** To the next match, or by -1 to the one before. */
  go(step: number): void;
  focus(): void;
  draw(): void;
  dispose(): void;
}
