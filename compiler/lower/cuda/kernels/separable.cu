// Separable convolutions, [BatchNorm →] ReLU → depthwise → pointwise, and their way back. What lies between the two
// convolutions is made in shared memory, tile by tile, and made again on the way back instead of being kept.
//
// S of all: images, h, w, c (of x), oh, ow, o (of the result), kh, kw, sh, sw, dh, dw (dilations), ph, pw (pads before) of the
// depthwise convolution; bh, bw: a tile; down, across: tiles of an image; chunks: how many blocks share the tiles at most; over: what
// lies between is made where the tile was; prologue, eps; copied: the filters have room in shared memory; halves: see Weights; aside: there is
// room for what the next tile is made of, see Brought; tf32: products of factors rounded to 10 bits, or to bf16 where images are. Channels come in packs of 4. Many: a block
// has so many tiles that float does not do for the sums of a thread.

// Strip is Each results along one axis of a depthwise convolution of K taps, stride S and dilation D, Step apart, for they share most of what they
// read: of the Span inputs, Unit apart, result j reads those from j·A on, B apart. Strips cover so many Results, and some that are made in vain.
template <int K, int S, int D, int Results, int Each> struct Strip {
  static constexpr int Step = Each > 1 && S == 1 ? D : 1, Unit = Each == 1 || S == 1 ? D : D % S == 0 ? S : 1;
  static constexpr int A = S * Step / Unit, B = D / Unit, Span = (Each - 1) * A + (K - 1) * B + 1;
  static constexpr int Count = Step * ceiling(ceiling(Results, Step), Each), There = Each * Count, Inputs = (There - 1) * S + (K - 1) * D + 1;

  // first is the first result of strip i.
  __device__ static inline int first(int i) { return i / Step * Each * Step + i % Step; }
  // tap is the one through which result j reads input t, or -1.
  __device__ static constexpr int tap(int t, int j) { return t >= j * A && (t - j * A) % B == 0 && (t - j * A) / B < K ? (t - j * A) / B : -1; }
};

// Loader brings tiles to shared memory: Rows by Columns pixels of C channels of an image of H by W. Left is their first column where they have all
// columns of the image, or else 1. What lies beside the image in such a tile is zero from begin on; with Over it is made so for every tile, for
// something else lies there in between.
template <int C, int Rows, int Columns, int Stride, int H, int W, int Left, bool Over> struct Loader {
  static constexpr int Fours = C / 4, Across = W * Fours; // packs of four channels
  static constexpr bool Wide = Left <= 0 && W - Left <= Columns && Across <= Threads && Threads % Across == 0;
  // A thread brings so many packs; in a wide tile it stays in its column, so that its packs are a constant apart.
  static constexpr int Ways = Wide ? Threads / Across : Threads / Fours, Each = ceiling(Wide ? Rows : Rows * Columns, Ways);

  template <class T> __device__ static inline void begin(T tile) {
    if constexpr (Wide && !Over) clear(tile);
  }
  template <class T> __device__ static inline void clear(T tile) {
    constexpr int Beside = Columns - W;
    if constexpr (Beside > 0) {
#pragma unroll 1
      for (int i = thread(); i < Rows * Beside * Fours; i += Threads) {
        int beside = i / Fours % Beside;
        store<4>(tile, i / Fours / Beside * Stride + (beside < -Left ? beside : beside + W) * C + i % Fours * 4, zero<4>());
      }
    }
  }

  // packs calls f(k, to, from, inside) for each pack of this thread, of the tile whose first pixel is at (top, left): its number, where it is in the tile and in
  // the images, and whether it is one.
  template <class F> __device__ static inline void packs(int image, int top, int left, F f) {
    int channel = thread() % Fours * 4;
    if constexpr (Wide) {
      int column = thread() / Fours % W, way = thread() / Across;
      int to = way * Stride + (column - Left) * C + channel, from = ((image * H + top + way) * W + column) * C + channel;
#pragma unroll
      for (int k = 0; k < Each; k++) {
        int row = k * Ways + way;
        if (Rows % Ways == 0 || row < Rows) f(k, to + k * Ways * Stride, from + k * Ways * W * C, (unsigned)(top + row) < (unsigned)H);
      }
    } else {
      int way = thread() / Fours, row = way / Columns, column = way % Columns;
      if (way >= Ways) return;
      for (int k = 0; k * Ways + way < Rows * Columns; k++) {
        int r = top + row, q = left + column;
        f(k, row * Stride + column * C + channel, ((image * H + r) * W + q) * C + channel, (unsigned)r < (unsigned)H && (unsigned)q < (unsigned)W);
        row += Ways / Columns, column += Ways % Columns;
        if (column >= Columns) column -= Columns, row++;
      }
    }
  }

  // ask asks for a tile as it is in memory, with zeros outside: to lie in the tile, or in the places of this thread.
  template <class T, class P> __device__ static inline void ask(T tile, P x, int image, int top, int left) {
    packs(image, top, left, [&](int, int to, int from, bool inside) { bring<4>(tile, to, x, from, inside); });
  }
  template <class T, class P> __device__ static inline void ask_aside(T places, P x, int image, int top, int left) {
    packs(image, top, left, [&](int k, int, int from, bool inside) { bring<4>(places, (k * Threads + thread()) * 4, x, from, inside); });
  }

  // place makes the tile of what has arrived there, or in the places of this thread: ready(channel) gives what makes a pack inside.
  template <class T, class F> __device__ static inline void place(T tile, int top, int left, F ready) {
    place(tile, top, left, ready, [&](int, int to) { return load<4>(tile, to); });
  }
  template <class T, class U, class F> __device__ static inline void place_aside(T tile, U places, int top, int left, F ready) {
    place(tile, top, left, ready, [&](int k, int) { return load<4>(places, (k * Threads + thread()) * 4); });
  }
  template <class T, class F, class G> __device__ static inline void place(T tile, int top, int left, F ready, G get) {
    if constexpr (Wide && Over) clear(tile);
    auto made = ready(thread() % Fours * 4);
    packs(0, top, left, [&](int k, int to, int, bool inside) {
      Pack<4> v = get(k, to);
      store<4>(tile, to, inside ? made(v) : v);
    });
  }
};

// Window is a depthwise convolution of tiles of BH by BW results. A thread makes Down by four results of V channels. Banks: see padding.
template <int KH, int KW, int SH, int SW, int DH, int DW, int BH, int BW, int C, int Down, int Banks = 32> struct Window {
  typedef Strip<KH, SH, DH, BH, BH == 1 ? 1 : Down> R;
  typedef Strip<KW, SW, DW, BW, 4> Q;
  static constexpr int V = C <= 2 * Threads ? 2 : 4, Packs = C / V, Lanes = Threads / Packs, Each = BH == 1 ? 1 : Down;
  static constexpr int Rows = R::Inputs, Columns = Q::Inputs, Apart = R::Step == 1 ? Each : 1; // of rows of results that a warp's next lanes make
  static constexpr int Stride = Columns * C + padding(Columns * C, SH * Apart, C, Banks), Size = Rows * Stride;

  // channel of all that this thread makes; one at or behind C has no part.
  __device__ static inline int channel() { return thread() < Lanes * Packs ? thread() % Packs * V : C; }

  // strips calls f(row, column) for the first result of each of this thread's strips.
  template <class F> __device__ static inline void strips(F f) {
    if (channel() >= C) return;
    for (int i = thread() / Packs; i < R::Count * Q::Count; i += Lanes) f(R::first(i % R::Count), Q::first(i / R::Count));
  }

  // inputs are those of row t of a strip.
  template <class T> __device__ static inline void inputs(Pack<V> (&in)[Q::Span], T tile, int row, int column, int t) {
#pragma unroll
    for (int u = 0; u < Q::Span; u++) in[u] = load<V>(tile, (row * SH + t * R::Unit) * Stride + (column * SW + u * Q::Unit) * C + channel());
  }

  // Sum is the results of a strip.
  struct Sum {
    Pack<V> of[Each][4] = {};
    int row, column;

    // put hands them on: put(row, column, channel, result).
    template <class F> __device__ inline void put(F put) const {
#pragma unroll
      for (int j = 0; j < Each; j++)
        for (int i = 0; i < 4; i++) put(row + j * R::Step, column + i * Q::Step, channel(), of[j][i]);
    }
  };
  template <class T, class U> __device__ static inline Sum sum(T tile, U filter, int row, int column) {
    Sum s;
    s.row = row, s.column = column;
#pragma unroll
    for (int t = 0; t < R::Span; t++) {
      Pack<V> in[Q::Span];
      inputs(in, tile, row, column, t);
#pragma unroll
      for (int j = 0; j < Each; j++) {
        if (R::tap(t, j) < 0) continue;
#pragma unroll
        for (int b = 0; b < KW; b++) {
          Pack<V> f = load<V>(filter, (R::tap(t, j) * KW + b) * C + channel());
          for (int i = 0; i < 4; i++)
            for (int v = 0; v < V; v++) s.of[j][i].v[v] += in[i * Q::A + b * Q::B].v[v] * f.v[v];
        }
      }
    }
    return s;
  }

  // each makes the results of a tile. With Over, what put writes may lie over the tile, of which no thread must have more than one strip.
  template <bool Over, class T, class U, class F> __device__ static inline void each(T tile, U filter, F put) {
    if constexpr (Over) {
      static_assert(R::Count * Q::Count <= Lanes, "a strip a thread");
      int i = thread() / Packs;
      bool any = channel() < C && i < R::Count * Q::Count;
      Sum s;
      if (any) s = sum(tile, filter, R::first(i % R::Count), Q::first(i / R::Count));
      __syncthreads();
      if (any) s.put(put);
    } else {
      strips([&](int row, int column) { sum(tile, filter, row, column).put(put); });
    }
  }
};

// Copied is a filter of so many elements in shared memory, if there is room for it; if not, it is read where it is.
template <int Count, bool Room> struct Copied {
  static constexpr int Size = Room ? Count : 0;

  __device__ static inline void fill(int at, In<float> filter) {
    if constexpr (Room) {
      auto copy = shared<float>(at, Size);
      for (int i = 4 * thread(); i < Count; i += 4 * Threads) store<4>(copy, i, load<4>(filter, i));
    }
  }
  __device__ static inline auto from(int at, In<float> filter) {
    if constexpr (Room) {
      return shared<float>(at, Size);
    } else {
      return filter;
    }
  }
};

// Weights are the factors of a product over K, N of them: in shared memory [N][K], if there is room, from memory [N][K] or, Turned, [K][N]. There they are as
// tensor cores take them: rounded where products are not to be exact, or, with Halves, pairs of neighbours and then what rounding leaves of both.
template <class T, int K, int N, bool Turned, bool Room, bool Exact, bool Halves> struct Weights {
  static_assert(!Halves || (Room && Exact), "what is in memory is whole, and what is rounded has no rest");
  static constexpr bool Floats = sizeof(T) == sizeof(float), Whole = !Floats || (Exact && !Halves);
  typedef Fragments<T, Exact> F;
  static constexpr int Stride = (Halves ? 2 : 1) * spread(K), Size = Room ? eights(N) * Stride : 0;

  __device__ static inline void fill(int at, In<float> filter) {
    if constexpr (Room) {
      auto copy = shared<T>(at, Size);
      if constexpr (Turned) { // a warp reads whole sectors of memory, and writes to 16 banks
#pragma unroll 8
        for (int i = thread(); i < eights(N) * eights(K); i += Threads) {
          int n = i / 32 % (eights(N) / 8) * 8 + i % 8, k = i / 32 / (eights(N) / 8) * 4 + i / 8 % 4;
          float w[1] = {n < N && k < K ? filter[k * N + n] : 0.0f};
          Split<1, Exact> split(w);
          int to = n * Stride + (Halves ? k / 2 * 4 + k % 2 : k);
          copy[to] = Whole ? w[0] : split.high[0];
          if constexpr (Halves) copy[to + 2] = split.low[0];
        }
      } else {
        for (int i = thread(); i < N * (eights(K) / 4); i += Threads) {
          int n = i / (eights(K) / 4), k = i % (eights(K) / 4) * 4;
          Pack<4> w = k < K ? load<4>(filter, n * K + k) : zero<4>();
          Split<4, Exact> split(w.v);
          const auto& h = split.high;
          if constexpr (Halves) {
            const auto& l = split.low;
            store<4>(copy, n * Stride + 2 * k, Pack<4>{{h[0], h[1], l[0], l[1]}});
            store<4>(copy, n * Stride + 2 * k + 4, Pack<4>{{h[2], h[3], l[2], l[3]}});
          } else {
            store<4>(copy, n * Stride + k, Whole ? w : Pack<4>{{h[0], h[1], h[2], h[3]}});
          }
        }
      }
    }
  }

  // From is where they are: pair and split are the factors k and k+1 of n; those that are not there are anything, but for zero beyond K. right is those of
  // a warp's tiles of eight n each from k on.
  struct From {
    int at;
    In<float> filter;

    __device__ inline Pack<2> pair(int n, int k) const {
      static_assert(!Halves, "split has them");
      if constexpr (Room) {
        return load<2>(shared<T>(at, Size), n * Stride + k);
      } else {
        if (n >= N || k >= K) return zero<2>();
        if constexpr (!Turned) return load<2>(filter, n * K + k);
        return Pack<2>{{filter[k * N + n], filter[(k + 1) * N + n]}};
      }
    }
    __device__ inline Split<2, Exact> split(int n, int k) const {
      Split<2, Exact> out;
      if constexpr (Halves) {
        Pack<4> w = load<4>(shared<float>(at, Size), n * Stride + 2 * k);
        for (int i = 0; i < 2; i++) out.high[i] = w.v[i], out.low[i] = w.v[2 + i];
      } else if constexpr (Room && !Exact) {
        Pack<2> w = pair(n, k);
        out.high[0] = w.v[0], out.high[1] = w.v[1];
      } else {
        out = Split<2, Exact>(pair(n, k).v);
      }
      return out;
    }
    template <int Tiles> __device__ inline void right(typename F::Right (&r)[Tiles], int tile, int k) const {
      constexpr int Last = eights(N) - 8;
      int g = thread() % 32 / 4, t = thread() % 4;
      if constexpr (!Floats && Room) {
        F::template right<eights(K)>(r, shared<T>(at, Size), Stride, 8 * tile, Last, k);
      } else {
#pragma unroll
        for (int i = 0; i < Tiles; i++) {
          int n = smaller(8 * (tile + i), Last) + g;
          if constexpr (Floats) {
            r[i] = split(n, k + 2 * t);
          } else {
            for (int j = 0; j < 2; j++) {
              Pack<2> w = pair(n, k + 8 * j + 2 * t);
              r[i].of[j] = (unsigned)bf16(w.v[0]).bits | (unsigned)bf16(w.v[1]).bits << 16;
            }
          }
        }
      }
    }
  };
};

// Tile is where a tile of an image lies.
template <class S> struct Tile {
  int image, row, column;
  __device__ inline explicit Tile(int i)
      : image(i / (S::down * S::across)), row(i / S::across % S::down * S::bh), column(i % S::across * S::bw) {}
  static constexpr int Count = S::images * S::down * S::across, Pixels = S::bh * S::bw;
};

// upcoming calls f with tile i, in one thread and if there is one, to ask for its memory long before the block makes it: rows_ahead asks
// for rows from top on of an image of H by W pixels of C channels. A tile that has not all columns lies in too many places.
template <class S, class F> __device__ inline void upcoming(int i, F f) {
  if (S::across == 1 && thread() == 0 && i < Tile<S>::Count) f(Tile<S>(i));
}
template <int H, int W, int C, class T> __device__ inline void rows_ahead(T p, int image, int top, int rows) {
  int first = larger(top, 0), last = smaller(top + rows, H);
  if (W * C * sizeof(p[0]) % 16 == 0 && first < last) ahead(p, (image * H + first) * W * C, (last - first) * W * C);
}

// Element is what x lies as: as it is in memory, or as floats.
template <bool Raw, class Image> struct Element {
  typedef float type;
};
template <class Image> struct Element<true, Image> {
  typedef Image type;
};

// Laid is how x lies in shared memory for a depthwise convolution: as it is in memory if the prologue is no more than a ReLU, which what reads it does then (Raw), or else as
// floats that are made of it. bytes are those of a tile of so many elements.
template <class S> struct Laid {
  static constexpr bool Raw = S::prologue < 2;
  typedef typename Element<Raw, typename S::Image>::type T;
  static constexpr int Banks = 128 / sizeof(T);
  __device__ static constexpr int bytes(int size) { return ceiling(size * sizeof(T), 16) * 16; }
};

// Rectified is read as a ReLU makes it.
template <class T> struct Rectified {
  T of;
};
template <int V, class T> __device__ inline Pack<V> load(const Rectified<T>& p, int i) { return rectified<V>(p.of, i); }

// Brought is a tile of x on its way to what a depthwise convolution reads, from TileAt on. Where there is room to put what it is made of aside, from At on, it is asked for
// once the one before has left; else it comes to where it is to lie, once the one before has been read, or with S::over once what was made of that has been.
template <class S, class L, int Rows, int Size, int TileAt, int At> struct Brought {
  typedef typename S::Image Image;
  typedef typename Laid<S>::T T;
  static constexpr bool Raw = Laid<S>::Raw, Aside = S::aside && !Raw;
  static constexpr int Places = Aside ? L::Each * Threads * 4 : 0;
  static_assert(Aside || sizeof(Image) == sizeof(T), "bf16 does not lie where floats are to");

  __device__ static inline auto tile() { return shared<T>(TileAt, Size); }
  // read is the tile as the convolution wants it.
  __device__ static inline auto read() {
    if constexpr (S::prologue == 1) {
      return Rectified<Shared<T>>{tile()};
    } else {
      return tile();
    }
  }
  __device__ static inline int top(const Tile<S>& at) { return at.row * S::sh - S::ph; }
  __device__ static inline int left(const Tile<S>& at) { return at.column * S::sw - S::pw; }
  // next asks for tile i, if there is one, once it may come: after the one before has left, has been read, or has been used. One that comes late is asked to be near
  // by then.
  enum When { Left, Read, Used };
  static constexpr When After = Aside ? Left : S::over ? Used : Read;
  template <When Now> __device__ static inline void next(In<Image> x, int i) {
    if constexpr (Now == After) {
      if (i < Tile<S>::Count) ask(x, Tile<S>(i));
    } else if constexpr (Now == Left && After == Used) {
      upcoming<S>(i, [&](const Tile<S>& at) { rows_ahead<S::h, S::w, S::c>(x, at.image, top(at), Rows); });
    }
  }
  __device__ static inline void ask(In<Image> x, const Tile<S>& at) {
    if constexpr (Aside) {
      L::ask_aside(shared<Image>(At, Places), x, at.image, top(at), left(at));
    } else {
      if constexpr (Raw && L::Wide && S::over) L::clear(tile());
      L::ask(tile(), x, at.image, top(at), left(at));
    }
  }
  // place makes the tile once it has arrived.
  template <class F> __device__ static inline void place(const Tile<S>& at, F ready) {
    if constexpr (Aside) {
      L::place_aside(tile(), shared<Image>(At, Places), top(at), left(at), ready);
    } else if constexpr (!Raw) {
      L::place(tile(), top(at), left(at), ready);
    }
  }
};

// Results is where pixels of a tile of results lie.
template <class S> struct Results {
  static constexpr bool Whole = S::oh % S::bh == 0 && S::ow % S::bw == 0; // tiles
  static constexpr bool All = Whole && Tile<S>::Pixels % 16 == 0;         // rows of whole tiles of Matrix are pixels
  int start, row, column;
  __device__ inline explicit Results(const Tile<S>& at) : start((at.image * S::oh + at.row) * S::ow + at.column), row(S::oh - at.row), column(S::ow - at.column) {}
  // of is the number of a pixel among all, or -1 where there is none.
  __device__ inline int of(int pixel) const {
    int r = pixel / S::bw, q = pixel % S::bw;
    if (!All && (pixel >= Tile<S>::Pixels || (!Whole && (r >= row || q >= column)))) return -1;
    return start + (S::bw == S::ow ? pixel : r * S::ow + q);
  }
};

// Factors are those of the prologue, made once a block: center, factor and shift of every channel.
template <class S> struct Factors {
  static constexpr int Count = S::prologue >= 2 ? 3 * S::c : 0;

  template <class T> __device__ static inline void make(T room, const Prologue<S>& p) {
    if constexpr (Count > 0) {
      for (int c = thread(); c < S::c; c += Threads) {
        room[c] = p.mean[c];
        room[S::c + c] = 1 / sqrtf(p.variance[c] + S::eps) * (S::prologue == 3 ? p.gamma[c] : 1.0f);
        room[2 * S::c + c] = S::prologue == 3 ? p.beta[c] : 0.0f;
      }
    }
  }
  // Of is those of V channels: normalized is what the ReLU reads.
  template <int V> struct Of {
    Pack<V> center, factor, shift;

    __device__ inline Pack<V> normalized(Pack<V> x) const {
      if constexpr (Count > 0)
        for (int v = 0; v < V; v++) x.v[v] = (x.v[v] - center.v[v]) * factor.v[v] + shift.v[v];
      return x;
    }
    __device__ inline Pack<V> operator()(Pack<V> x) const {
      x = normalized(x);
      if constexpr (S::prologue >= 1)
        for (int v = 0; v < V; v++) x.v[v] = fmaxf(x.v[v], 0.0f);
      return x;
    }
  };
  template <int V, class T> __device__ static inline Of<V> of(T room, int channel) {
    Of<V> f = {zero<V>(), zero<V>(), zero<V>()};
    if constexpr (Count > 0) f.center = load<V>(room, channel), f.factor = load<V>(room, S::c + channel);
    if constexpr (S::prologue == 3) f.shift = load<V>(room, 2 * S::c + channel);
    return f;
  }
};

// Matrix multiplies the rows of shared memory, L, which are Lines, by Weights, on tensor cores. Tiles of 16 by 8 results are shared by the eight warps,
// WarpsM of them along the rows; a warp has Each tiles side by side. RowsThere rows must be there, with zeros from K to eights(K).
template <class T, int Rows, int K, int N, bool Exact, class L = Lines<T, K>> struct Matrix {
  typedef Fragments<T, Exact> F;
  static constexpr int TilesM = ceiling(Rows, 16), TilesN = ceiling(N, 8), RowsThere = 16 * TilesM, Stride = L::Stride, Size = L::at(RowsThere), Steps = ceiling(K, F::Depth);
  static constexpr int WarpsM = TilesM >= 8 ? 8 : TilesM >= 4 ? 4 : TilesM >= 2 ? 2 : 1, Each = ceiling(TilesN, 8 / WarpsM), Rounds = ceiling(TilesM, WarpsM);
  static constexpr bool Kept = Rounds > 1 && Steps * Each * sizeof(typename F::Right) <= 64; // the weights, in registers

  // column of the first of the two results in a row of the thread's tile i; one at or behind N has no part.
  __device__ static inline int column(int i) { return (thread() / 32 / WarpsM * Each + i) * 8 + thread() % 4 * 2; }

  // each calls put(row, i, first and second result) for each tile i; weights are those of Weights.
  template <class R, class G, class P> __device__ static inline void each(R rows, G weights, P put) {
    int g = thread() % 32 / 4, left = thread() / 32 / WarpsM * Each;
    typename F::Right right[Kept ? Steps : 1][Each];
    if constexpr (Kept) {
#pragma unroll
      for (int k = 0; k < Steps; k++) weights.right(right[k], left, k * F::Depth);
    }
#pragma unroll(Rounds <= 2 ? Rounds : 1)
    for (int m = thread() / 32 % WarpsM; m < TilesM; m += WarpsM) {
      float sum[Each][4] = {};
      if constexpr (Exact && K < 16) {
        for (int n = 0; n < Each; n++)
          for (int i = 0; i < 4; i++) {
            int row = L::at(m * 16) + (g + i / 2 * 8) * Stride, c = column(n) + i % 2;
            double total = 0;
            for (int k = 0; k < K && c < N; k++) total += (double)rows[row + k] * weights.pair(c, k / 2 * 2).v[k % 2];
            sum[n][i] = (float)total;
          }
      } else {
#pragma unroll 4
        for (int k = 0; k < Steps; k++) {
          typename F::Left row = F::template left<eights(K)>(rows, L::at(m * 16), Stride, k * F::Depth);
          if constexpr (!Kept) weights.right(right[0], left, k * F::Depth);
#pragma unroll
          for (int n = 0; n < Each; n++)
            if (left + n < TilesN) F::multiply(sum[n], row, right[Kept ? k : 0][n]);
        }
      }
#pragma unroll
      for (int n = 0; n < Each; n++) {
        if (column(n) >= N) continue;
        put(m * 16 + g, n, sum[n][0], sum[n][1]);
        put(m * 16 + g + 8, n, sum[n][2], sum[n][3]);
      }
    }
  }
};

// sum_rows adds get(row, item) over all rows: each item is shared by several threads, whose shares are added in order. The
// last step, put(item, total), is that of one thread an item. Shares lie in shared memory from its beginning on.
template <int Rows, int Items> constexpr int Shares = larger(1, smaller(Rows, Threads / Items));
template <int Rows, int Items> constexpr int ShareBytes = 8 * Shares<Rows, Items> * Items;

template <int Rows, int Items, class G, class F> __device__ inline void sum_rows(int rows, G get, F put) {
  double mine[ceiling(Shares<Rows, Items> * Items, Threads)];
  int n = 0;
  for (int i = thread(); i < Shares<Rows, Items> * Items; i += Threads) {
    double total = 0;
#pragma unroll 16
    for (int row = i / Items; row < rows; row += Shares<Rows, Items>) total += get(row, i % Items);
    mine[n++] = total;
  }
  __syncthreads(); // what get reads may lie where the shares go
  auto share = shared<double>(0, Shares<Rows, Items> * Items);
  n = 0;
  for (int i = thread(); i < Shares<Rows, Items> * Items; i += Threads) share[i] = mine[n++];
  __syncthreads();
  for (int i = thread(); i < Items; i += Threads) {
    double total = 0;
    for (int k = 0; k < Shares<Rows, Items>; k++) total += share[k * Items + i];
    put(i, total);
  }
}

// SumPitch is how far apart rows of two sums of N channels lie, in different memory banks.
template <int N> constexpr int SumPitch = 2 * N + 1;

// channel_sums adds two sums of each of N channels: first the Rows partial ones of a block, which fill(room) writes as [Rows][SumPitch], then
// those of all blocks, in order, by the last of them to come here, which calls finish(channel, first, second). Partial is [chunks][2][N], of Chunks at most.
template <int N, int Rows, int Chunks, class G, class F>
__device__ inline void channel_sums(Out<double> partial, int counter, int chunk, int chunks, G fill, F finish) {
  constexpr int Items = 2 * N;
  __syncthreads();
  auto room = shared<double>(0, Rows * SumPitch<N>);
  fill(room);
  __syncthreads();
  sum_rows<Rows, Items>(Rows, [&](int row, int i) { return room[row * SumPitch<N> + i]; }, [&](int i, double total) { partial[chunk * Items + i] = total; });
  if (!last_block(counter, chunks)) return;
  auto totals = shared<double>(ShareBytes<Chunks, Items>, Items);
  sum_rows<Chunks, Items>(chunks, [&](int row, int i) { return fresh(partial, row * Items + i); }, [&](int i, double total) { totals[i] = total; });
  __syncthreads();
  for (int c = thread(); c < N; c += Threads) finish(c, totals[c], totals[N + c]);
}

// Sums are two sums of each of N channels: of some numbers in float, and of these, after flush, in double if they are Many.
template <int N, bool Many> struct Sums {
  float part[2][N] = {};
  double total[2][Many ? N : 1] = {};

  __device__ inline void flush() {
    if constexpr (Many) {
      for (int j = 0; j < 2; j++)
        for (int k = 0; k < N; k++) total[j][k] += (double)part[j][k], part[j][k] = 0;
    }
  }
  __device__ inline double of(int j, int k) const { return Many ? total[j][Many ? k : 0] : part[j][k]; }
};

// Separable: z, and with S::stats the mean and biased variance of its channels (group separable).
// S: also stats.
template <class S, bool Many> struct Separable {
  typedef Window<S::kh, S::kw, S::sh, S::sw, S::dh, S::dw, S::bh, S::bw, S::c, 2, Laid<S>::Banks> W;
  typedef Loader<S::c, W::Rows, W::Columns, W::Stride, S::h, S::w, S::across == 1 ? -S::pw : 1, S::over> L;
  typedef Copied<S::kh * S::kw * S::c, S::copied> D;
  typedef typename S::Image Image;
  typedef Weights<Image, S::c, S::o, true, S::copied, !S::tf32, S::halves> P;
  typedef Lines<Image, S::c, S::bw, W::Apart> B;
  typedef Matrix<Image, Tile<S>::Pixels, S::c, S::o, !S::tf32, B> M;
  typedef Sums<2 * M::Each, Many> T;
  static constexpr int FactorsAt = 0, DepthwiseAt = 4 * Factors<S>::Count, PointwiseAt = DepthwiseAt + 4 * D::Size; // bytes
  static constexpr int TileAt = PointwiseAt + sizeof(Image) * P::Size, TileEnd = TileAt + Laid<S>::bytes(W::Size);
  static constexpr int BetweenAt = S::over ? TileAt : TileEnd, BetweenEnd = BetweenAt + sizeof(Image) * M::Size;
  typedef Brought<S, L, W::Rows, W::Size, TileAt, larger(TileEnd, BetweenEnd)> X;
  Prologue<S> before;
  In<Image> x;
  In<float> depthwise, pointwise;
  Out<Image> z;
  Out<float> mean, variance;
  Out<double> partial;
  int counter, blocks;

  __device__ void run(int block) const {
    auto factors = shared<float>(FactorsAt, Factors<S>::Count);
    auto between = shared<Image>(BetweenAt, M::Size);
    Factors<S>::make(factors, before);
    D::fill(DepthwiseAt, depthwise);
    P::fill(PointwiseAt, pointwise);
    if constexpr (S::c % 8 != 0 && !S::over)
      for (int i = thread(); i < M::RowsThere; i += Threads) store<4>(between, B::at(i) + S::c, zero<4>());
    L::begin(X::tile());
    X::template next<X::After>(x, block);
    __syncthreads();
    T sums;
    for (int i = block; i < Tile<S>::Count; i += blocks) {
      Tile<S> at(i);
      arrived();
      X::place(at, [&](int channel) { return Factors<S>::template of<4>(factors, channel); });
      X::template next<X::Left>(x, i + blocks);
      __syncthreads();
      W::template each<S::over>(X::read(), D::from(DepthwiseAt, depthwise), [&](int row, int column, int channel, const Pack<W::V>& v) {
        if (row < S::bh && column < S::bw) store<W::V>(between, B::at(row, column) + channel, v);
      });
      __syncthreads();
      X::template next<X::Read>(x, i + blocks);
      Results<S> to(at);
      M::each(between, typename P::From{PointwiseAt, pointwise}, [&](int pixel, int n, float first, float second) {
        int i = to.of(pixel);
        if (!Results<S>::All && i < 0) return;
        store2(z, i * S::o + M::column(n), first, second);
        if constexpr (S::stats) {
          sums.part[0][2 * n] += first, sums.part[0][2 * n + 1] += second;
          sums.part[1][2 * n] += first * first, sums.part[1][2 * n + 1] += second * second;
        }
      });
      if constexpr (S::over) __syncthreads();
      X::template next<X::Used>(x, i + blocks);
      sums.flush();
    }
    if constexpr (S::stats) {
      channel_sums<S::o, 8 * M::WarpsM, S::chunks>(partial, counter, block, blocks, [&](Shared<double> room) {
        int row = thread() / 32 % M::WarpsM * 8 + thread() % 32 / 4;
#pragma unroll
        for (int n = 0; n < M::Each; n++)
          for (int k = 0; k < 2; k++)
            if (M::column(n) < S::o)
              for (int j = 0; j < 2; j++) room[row * SumPitch<S::o> + j * S::o + M::column(n) + k] = sums.of(j, 2 * n + k);
      }, [&](int channel, double sum, double squares) {
        constexpr double Count = (double)S::images * S::oh * S::ow;
        double m = sum / Count, s = squares / Count - m * m;
        mean[channel] = (float)m;
        variance[channel] = (float)(s > 0 ? s : 0);
      });
    }
  }
};

// SeparablePointwiseGrad: the first half of the way back (group separable_grad). The cotangent of z is g, or, with
// S::normalized, what comes through the gradient of its BatchNorm, scaled by weights[scale] with S::scaled. Between is the cotangent of
// what lies between the convolutions, and, with S::filters, partial [chunks][c][o] sums to that of the pointwise filter.
// S: also normalized, affine, scaled, norm_eps, filters.
template <class S> struct SeparablePointwiseGrad {
  typedef Window<S::kh, S::kw, S::sh, S::sw, S::dh, S::dw, S::bh, S::bw, S::c, 2, Laid<S>::Banks> W;
  typedef Loader<S::c, W::Rows, W::Columns, W::Stride, S::h, S::w, S::across == 1 ? -S::pw : 1, S::over> L;
  typedef Copied<S::kh * S::kw * S::c, S::copied && S::filters> D;
  typedef typename S::Image Image;
  typedef Weights<Image, S::o, S::c, false, S::copied, !S::tf32, S::halves> P;
  typedef Matrix<Image, Tile<S>::Pixels, S::o, S::c, !S::tf32> M;
  typedef Lines<Image, S::c, S::bw, W::Apart> B; // of what lies between, made again
  static constexpr int Rows = M::RowsThere, Coefficients = S::normalized ? 4 * S::o : 0;
  static constexpr int FactorsAt = 0, DepthwiseAt = S::filters ? 4 * Factors<S>::Count : 0, PointwiseAt = DepthwiseAt + 4 * D::Size;
  static constexpr int CoefficientsAt = PointwiseAt + sizeof(Image) * P::Size, CotangentAt = CoefficientsAt + 4 * Coefficients;
  static constexpr int TileAt = CotangentAt + sizeof(Image) * Rows * M::Stride, TileEnd = TileAt + Laid<S>::bytes(W::Size);
  static constexpr int AgainAt = S::over ? TileAt : TileEnd, Again = B::at(Tile<S>::Pixels), AgainEnd = AgainAt + ceiling(sizeof(Image) * Again, 16) * 16;
  typedef Brought<S, L, W::Rows, W::Size, TileAt, larger(TileEnd, AgainEnd)> X;
  typedef Outer<Image, Tile<S>::Pixels, S::c, S::o, !S::tf32, B> A;
  Prologue<S> before;
  In<Image> g, z;
  In<float> mean, variance, sum, sum_x, gamma, weights, pointwise;
  In<Image> x;
  In<float> depthwise;
  Out<Image> between;
  Out<float> partial;
  int scale, blocks;

  __device__ void run(int block) const {
    auto factors = shared<float>(FactorsAt, S::filters ? Factors<S>::Count : 0);
    auto coefficients = shared<float>(CoefficientsAt, Coefficients);
    auto cotangent = shared<Image>(CotangentAt, Rows * M::Stride);
    if constexpr (S::filters) Factors<S>::make(factors, before);
    D::fill(DepthwiseAt, depthwise);
    P::fill(PointwiseAt, pointwise);
    make(coefficients);
    if constexpr (S::filters) {
      L::begin(X::tile());
      X::template next<X::After>(x, block);
    }
    if constexpr (Asked)
      if (block < Tile<S>::Count) ask(Tile<S>(block));
    __syncthreads();
    typename A::Totals totals;
    for (int i = block; i < Tile<S>::Count; i += blocks) {
      Tile<S> at(i);
      if constexpr (Asked) {
        arrived();
      } else {
        upcoming<S>(i + blocks, [&](const Tile<S>& next) {
          rows_ahead<S::oh, S::ow, S::o>(g, next.image, next.row, S::bh);
          if constexpr (S::normalized) rows_ahead<S::oh, S::ow, S::o>(z, next.image, next.row, S::bh);
        });
      }
      fill(cotangent, coefficients, at);
      if constexpr (Asked)
        if (i + blocks < Tile<S>::Count) ask(Tile<S>(i + blocks));
      if constexpr (S::filters) {
        arrived();
        X::place(at, [&](int channel) { return Factors<S>::template of<4>(factors, channel); });
        X::template next<X::Left>(x, i + blocks);
      }
      __syncthreads();
      Results<S> to(at);
      M::each(cotangent, typename P::From{PointwiseAt, pointwise}, [&](int pixel, int n, float first, float second) {
        int i = to.of(pixel);
        if (Results<S>::All || i >= 0) store2(between, i * S::c + M::column(n), first, second);
      });
      if constexpr (S::filters) {
        auto again = shared<Image>(AgainAt, Again);
        W::template each<S::over>(X::read(), D::from(DepthwiseAt, depthwise), [&](int row, int column, int channel, const Pack<W::V>& v) {
          if (row < S::bh && column < S::bw) store<W::V>(again, B::at(row, column) + channel, v);
        });
        __syncthreads();
        X::template next<X::Read>(x, i + blocks);
        A::add(totals, again, cotangent);
      }
      __syncthreads();
      if constexpr (S::filters) X::template next<X::Used>(x, i + blocks);
    }
    if constexpr (S::filters) finish(totals, block);
  }

  // make computes the cotangent of z as a·g + b·(z - center) + d; see BatchNormInputGrad.
  template <class T> __device__ inline void make(T room) const {
    if constexpr (S::normalized) {
      constexpr double Share = 1 / ((double)S::images * S::oh * S::ow);
      for (int o = thread(); o < S::o; o += Threads) {
        double inverse = inverse_root((double)variance[o] + S::norm_eps), factor = inverse;
        if constexpr (S::affine) factor *= gamma[o];
        if constexpr (S::scaled) factor *= weights[scale];
        room[o] = (float)factor;
        room[S::o + o] = (float)(-factor * inverse * sum_x[o] * Share);
        room[2 * S::o + o] = mean[o];
        room[3 * S::o + o] = (float)(-factor * sum[o] * Share);
      }
    }
  }

  // A thread makes the same pack of channels of Each rows of the cotangent; row k is pixel(k), and from(to, k) is where that is in g and z, or -1.
  static constexpr int Fours = eights(S::o) / 4, Ways = Threads / Fours, Each = ceiling(Rows, Ways);
  static constexpr bool All = Results<S>::All && S::o % 8 == 0 && Threads % Fours == 0 && Rows % Ways == 0; // are somewhere
  __device__ static inline int output() { return thread() % Fours * 4; }
  __device__ static inline int pixel(int k) {
    int i = thread() / Fours;
    if (Fours == 4 && sizeof(Image) == 4) i = (i & ~3) + i % 2 * 2 + i / 2 % 2; // eight lanes write two pixels that are not neighbours, and so in different memory banks
    return Threads % Fours == 0 || i < Ways ? i + k * Ways : Rows;
  }
  __device__ static inline int from(const Results<S>& to, int k) {
    int i = All || pixel(k) < Rows ? to.of(pixel(k)) : -1;
    return All || (i >= 0 && (S::o % 8 == 0 || output() < S::o)) ? i * S::o + output() : -1;
  }
  // ask asks for what the next call of fill wants: without filters there is room for it.
  static constexpr bool Asked = S::aside && !S::filters;
  static constexpr int Places = Asked ? Each * Threads * 4 : 0, PlacesAt = TileAt, MorePlacesAt = PlacesAt + Places * sizeof(Image);
  __device__ inline void ask(const Tile<S>& at) const {
    Results<S> to(at);
#pragma unroll
    for (int k = 0; k < Each; k++) {
      int i = from(to, k), place = (k * Threads + thread()) * 4;
      bring<4>(shared<Image>(PlacesAt, Places), place, g, i, All || i >= 0);
      if constexpr (S::normalized) bring<4>(shared<Image>(MorePlacesAt, Places), place, z, i, All || i >= 0);
    }
  }
  template <class T, class U> __device__ inline void fill(T cotangent, U coefficients, const Tile<S>& at) const {
    constexpr int Batch = smaller(4, Each);
    int o = output();
    Pack<4> a = zero<4>(), b = a, center = a, d = a;
    if (S::normalized && o < S::o) a = load<4>(coefficients, o), b = load<4>(coefficients, S::o + o), center = load<4>(coefficients, 2 * S::o + o), d = load<4>(coefficients, 3 * S::o + o);
    Results<S> to(at);
#pragma unroll
    for (int first = 0; first < Each; first += Batch) {
      Pack<4> v[Batch], made[Batch];
      bool inside[Batch];
#pragma unroll
      for (int k = 0; k < Batch; k++) { // all are asked for before the first is used
        int i = first + k < Each ? from(to, first + k) : -1, place = ((first + k) * Threads + thread()) * 4;
        inside[k] = first + k < Each && (All || i >= 0);
        v[k] = made[k] = zero<4>();
        if (!inside[k]) continue;
        if constexpr (Asked) {
          v[k] = load<4>(shared<Image>(PlacesAt, Places), place);
          if constexpr (S::normalized) made[k] = load<4>(shared<Image>(MorePlacesAt, Places), place);
        } else {
          v[k] = load<4>(g, i);
          if constexpr (S::normalized) made[k] = load<4>(z, i);
        }
      }
#pragma unroll
      for (int k = 0; k < Batch; k++) {
        if (S::normalized && inside[k])
          for (int j = 0; j < 4; j++) v[k].v[j] = b.v[j] * (made[k].v[j] - center.v[j]) + (a.v[j] * v[k].v[j] + d.v[j]);
        if (first + k < Each && (All || pixel(first + k) < Rows)) store<4>(cotangent, pixel(first + k) * M::Stride + o, v[k]);
      }
    }
  }

  // finish stores what the tiles of the block have come to.
  __device__ inline void finish(const typename A::Totals& totals, int block) const {
    A::finish(totals, [&](int c, int o, float total) {
      int i = c * S::o + o;
      partial[block * S::c * S::o + i] = total;
      for (int row = block + blocks; row < S::chunks; row += blocks) partial[row * S::c * S::o + i] = 0;
    });
  }
};

// SeparableDepthwiseGrad: the second half of the way back, tile by tile of x, from the cotangent of what lies between: dx,
// which with S::masked is zero where the ReLU was; with S::filters partial [chunks][kh][kw][c], which sums to the cotangent of the
// depthwise filter; with S::sums those of operation batch_norm_sums of dx and x.
// S: also masked, filters, sums; twice: there is room for two tiles, of which one is brought while the other is made.
template <class S, bool Many> struct SeparableDepthwiseGrad {
  typedef typename S::Image Image;
  static constexpr bool Dense = S::sh == 1 && S::sw == 1;
  static constexpr int Taps = S::kh * S::kw, Banks = 128 / sizeof(Image);
  // At stride 1 the cotangent is a convolution too, by the filter's taps in opposite order. Threads that keep the sums of many taps make fewer results at once.
  typedef Window<S::kh, S::kw, 1, 1, S::dh, S::dw, S::bh, S::bw, S::c, (S::filters && Taps > 9 ? 1 : 2), Banks> W;
  // With a stride, tiles are of whole strides, and a thread makes Each of them side by side, all phases of each.
  typedef Phase<S::kh, S::sh, S::dh, S::ph> R;
  typedef Phase<S::kw, S::sw, S::dw, S::pw> Q;
  static constexpr int Down = S::bh / S::sh, Each = S::sh * S::sw > 4 || S::bw < 2 * S::sw ? 1 : 2, Across = ceiling(S::bw / S::sw, Each);
  static constexpr int Rows = Dense ? W::Rows : Down - 1 + R::Span, Columns = Dense ? W::Columns : Each * Across - 1 + Q::Span;
  static constexpr int Stride = Dense ? W::Stride : Columns * S::c + padding(Columns * S::c, 1, S::c, Banks), Size = Rows * Stride, V = W::V;
  typedef Loader<S::c, Rows, Columns, Stride, S::oh, S::ow, S::across == 1 ? Q::Low : 1, false> L;
  typedef Copied<Taps * S::c, S::copied> D;
  // Kept: a thread has one strip a tile, so that what it reads of x is brought to a place of its own meanwhile.
  static constexpr bool Kept = Dense && W::R::Count * W::Q::Count <= W::Lanes && (S::masked || S::filters);
  static constexpr int FactorsAt = 0, DepthwiseAt = 4 * Factors<S>::Count, TileAt = DepthwiseAt + 4 * D::Size;
  static constexpr int TileBytes = ceiling(Size * sizeof(Image), 16) * 16, KeptAt = TileAt + (S::twice ? 2 : 1) * TileBytes, KeptCount = Kept ? W::Each * 4 * V * Threads : 0;
  typedef Sums<V, Many> T;
  // Whole: every result that a thread makes is one of the image.
  static constexpr bool Whole = S::h % S::bh == 0 && S::w % S::bw == 0 && (Dense ? W::R::There == S::bh && W::Q::There == S::bw : Each * Across * S::sw == S::bw);
  static_assert(S::bh % S::sh == 0 && S::bw % S::sw == 0, "tiles are of whole strides");
  // Where this is so, what the ReLU lets through is what the sums are to be multiplied with.
  static constexpr bool Standard = S::prologue == 2 && S::masked;
  Prologue<S> before;
  In<Image> between;
  In<float> depthwise;
  In<Image> x;
  Out<Image> dx;
  Out<float> partial, sum, sum_x;
  Out<double> partial_sums;
  int counter, blocks;

  // Inputs are of x, where the results of a strip are.
  struct Inputs {
    Pack<V> of[W::Each][4];
  };

  // Totals are the sums of a thread's channels for each tap, of the taps in the order of the window.
  struct Totals {
    Pack<V> of[S::filters ? Taps : 1] = {};
  };

  __device__ void run(int block) const {
    auto factors = shared<float>(FactorsAt, Factors<S>::Count);
    Factors<S>::make(factors, before);
    D::fill(DepthwiseAt, depthwise);
    for (int i = 0; i < (S::twice ? 2 : 1); i++) L::begin(tile(i));
    Totals totals;
    T sums;
    if constexpr (S::twice)
      if (block < Tile<S>::Count) ask(Tile<S>(block), 0);
    for (int i = block, turn = 0; i < Tile<S>::Count; i += blocks, turn = S::twice ? 1 - turn : 0) {
      Tile<S> at(i);
      if constexpr (!S::twice) {
        if (i != block) __syncthreads(); // no thread reads the tile before any more
        ask(at, 0);
      }
      arrived();
      __syncthreads();
      Inputs inputs;
      if constexpr (Kept) inputs = kept();
      if constexpr (S::twice)
        if (i + blocks < Tile<S>::Count) ask(Tile<S>(i + blocks), 1 - turn);
      if constexpr (Dense) {
        dense(totals, sums, factors, tile(turn), at, inputs);
      } else {
        strided(totals, sums, factors, tile(turn), at);
      }
      sums.flush();
    }
    __syncthreads();
    if constexpr (S::filters) finish(totals, block);
    if constexpr (S::sums) {
      channel_sums<S::c, W::Lanes, S::chunks>(partial_sums, counter, block, blocks, [&](Shared<double> room) {
        if (W::channel() >= S::c) return;
        for (int j = 0; j < 2; j++)
          for (int v = 0; v < V; v++) room[thread() / W::Packs * SumPitch<S::c> + j * S::c + W::channel() + v] = sums.of(j, v);
      }, [&](int channel, double first, double second) {
        sum[channel] = (float)first;
        sum_x[channel] = (float)(Standard ? second : second * inverse_root((double)before.variance[channel] + S::eps));
      });
    }
  }

  // input is where the depthwise convolution has read x, zero outside; active is what it has read.
  __device__ inline Pack<V> input(int from) const {
    return (S::masked || S::filters) && (Whole || from >= 0) ? load<V>(x, from) : zero<V>();
  }
  __device__ inline Pack<V> active(const typename Factors<S>::template Of<V>& factors, int from, const Pack<V>& input) const {
    return (S::masked || S::filters) && (Whole || from >= 0) ? factors(input) : zero<V>();
  }
  __device__ inline void put(T& sums, const typename Factors<S>::template Of<V>& factors, int from, const Pack<V>& a, Pack<V> g) const {
    if (!Whole && from < 0) return;
    if constexpr (S::masked)
      for (int v = 0; v < V; v++) g.v[v] = a.v[v] > 0 ? g.v[v] : 0.0f;
    if constexpr (S::sums) {
      Pack<V> with = a;
      if constexpr (!Standard) {
        with = load<V>(x, from);
        for (int v = 0; v < V; v++) with.v[v] -= factors.center.v[v];
      }
      for (int v = 0; v < V; v++) sums.part[0][v] += g.v[v], sums.part[1][v] += g.v[v] * with.v[v];
    }
    store<V>(dx, from, g);
  }

  // place is where result (j, i) of a strip is in x and dx, or -1.
  __device__ static inline int place(const Tile<S>& at, int row, int column, int j, int i) {
    int down = row + j * W::R::Step, across = column + i * W::Q::Step;
    bool there = Whole || (down < smaller(S::bh, S::h - at.row) && across < smaller(S::bw, S::w - at.column));
    return there ? ((at.image * S::h + at.row + down) * S::w + at.column + across) * S::c + W::channel() : -1;
  }
  __device__ static inline auto tile(int turn) { return shared<Image>(TileAt + turn * TileBytes, Size); }
  // ask asks for a tile of the cotangent, and for what the thread is to read of x.
  __device__ inline void ask(const Tile<S>& at, int turn) const {
    L::ask(tile(turn), between, at.image, at.row / S::sh + R::Low, at.column / S::sw + Q::Low);
    if constexpr (Kept)
      W::strips([&](int row, int column) {
#pragma unroll
        for (int k = 0; k < W::Each * 4; k++) {
          int from = place(at, row, column, k / 4, k % 4);
          bring<V>(shared<Image>(KeptAt, KeptCount), (k * Threads + thread()) * V, x, from, Whole || from >= 0);
        }
      });
  }
  __device__ static inline Inputs kept() {
    Inputs in;
#pragma unroll
    for (int k = 0; k < W::Each * 4; k++) in.of[k / 4][k % 4] = load<V>(shared<Image>(KeptAt, KeptCount), (k * Threads + thread()) * V);
    return in;
  }

  // dense makes the cotangents of a tile, and adds to the filter's while it has what they want at hand. The inputs are there if Kept.
  template <class U, class I> __device__ inline void dense(Totals& totals, T& sums, U factors, I tile, const Tile<S>& at, const Inputs& inputs) const {
    auto filter = D::from(DepthwiseAt, depthwise);
    auto before = Factors<S>::template of<V>(factors, W::channel() < S::c ? W::channel() : 0);
    W::strips([&](int row, int column) {
      Pack<V> a[W::Each][4], sum[W::Each][4] = {};
#pragma unroll
      for (int j = 0; j < W::Each; j++)
        for (int i = 0; i < 4; i++) {
          int from = place(at, row, column, j, i);
          a[j][i] = active(before, from, Kept ? inputs.of[j][i] : input(from));
        }
#pragma unroll
      for (int t = 0; t < W::R::Span; t++) {
        Pack<V> in[W::Q::Span];
        W::inputs(in, tile, row, column, t);
#pragma unroll
        for (int j = 0; j < W::Each; j++) {
          if (W::R::tap(t, j) < 0) continue;
#pragma unroll
          for (int b = 0; b < S::kw; b++) {
            int tap = W::R::tap(t, j) * S::kw + b;
            Pack<V> f = load<V>(filter, (Taps - 1 - tap) * S::c + W::channel());
            for (int i = 0; i < 4; i++)
              for (int v = 0; v < V; v++) {
                float g = in[i * W::Q::A + b * W::Q::B].v[v];
                sum[j][i].v[v] += g * f.v[v];
                if constexpr (S::filters) totals.of[tap].v[v] += g * a[j][i].v[v];
              }
          }
        }
        if constexpr (Taps > 9 || S::sums) in_order();
      }
#pragma unroll
      for (int j = 0; j < W::Each; j++)
        for (int i = 0; i < 4; i++) put(sums, before, place(at, row, column, j, i), a[j][i], sum[j][i]);
    });
  }

  // strided is dense with a stride: an input meets some of the taps.
  template <class U, class I> __device__ inline void strided(Totals& totals, T& sums, U factors, I tile, const Tile<S>& at) const {
    constexpr int Wide = Each * S::sw;
    auto filter = D::from(DepthwiseAt, depthwise);
    if (W::channel() >= S::c) return;
    auto before = Factors<S>::template of<V>(factors, W::channel());
    for (int i = thread() / W::Packs; i < Down * Across; i += W::Lanes) {
      int down = i % Down, across = i / Down * Each, row = down * S::sh, column = across * S::sw;
      int first = ((at.image * S::h + at.row + row) * S::w + at.column + column) * S::c + W::channel();
      auto from = [&](int p, int j) { // where the input of a phase and column is in x and dx, or -1
        bool there = Whole || (at.row + row + p < S::h && column + j < S::bw && at.column + column + j < S::w);
        return there ? first + (p * S::w + j) * S::c : -1;
      };
      Pack<V> a[S::sh][Wide], sum[S::sh][Wide] = {};
#pragma unroll
      for (int p = 0; p < S::sh; p++)
        for (int j = 0; j < Wide; j++) a[p][j] = active(before, from(p, j), input(from(p, j)));
#pragma unroll
      for (int r = 0; r < R::Span; r++) {
        Pack<V> in[Each - 1 + Q::Span];
#pragma unroll
        for (int u = 0; u < Each - 1 + Q::Span; u++) in[u] = load<V>(tile, (down + r) * Stride + (across + u) * S::c + W::channel());
#pragma unroll
        for (int tap = 0; tap < Taps; tap++) {
          Pack<V> f = load<V>(filter, tap * S::c + W::channel());
#pragma unroll
          for (int p = 0; p < S::sh; p++) {
            if (R::source(p, tap / S::kw) != r) continue;
#pragma unroll
            for (int j = 0; j < Wide; j++) {
              if (Q::source(j % S::sw, tap % S::kw) < 0) continue;
              const Pack<V>& g = in[j / S::sw + Q::source(j % S::sw, tap % S::kw)];
              for (int v = 0; v < V; v++) {
                sum[p][j].v[v] += g.v[v] * f.v[v];
                if constexpr (S::filters) totals.of[Taps - 1 - tap].v[v] += g.v[v] * a[p][j].v[v];
              }
            }
          }
        }
        if constexpr (Taps > 9 || S::sums) in_order();
      }
#pragma unroll
      for (int p = 0; p < S::sh; p++)
        for (int j = 0; j < Wide; j++) put(sums, before, from(p, j), a[p][j], sum[p][j]);
    }
  }

  // finish adds what threads have for the same channels: the second half of them to the first, and so on.
  __device__ inline void finish(Totals& totals, int block) const {
    constexpr int Half = ceiling(W::Lanes, 2);
    auto room = shared<float>(0, Half * Taps * S::c);
    int lane = W::channel() < S::c ? thread() / W::Packs : W::Lanes;
    for (int count = W::Lanes; count > 1; count = (count + 1) / 2) {
      int half = (count + 1) / 2;
      if (lane >= half && lane < count) {
#pragma unroll
        for (int tap = 0; tap < Taps; tap++) store<V>(room, ((lane - half) * Taps + tap) * S::c + W::channel(), totals.of[tap]);
      }
      __syncthreads();
      if (lane + half < count) {
#pragma unroll
        for (int tap = 0; tap < Taps; tap++) {
          Pack<V> other = load<V>(room, (lane * Taps + tap) * S::c + W::channel());
          for (int v = 0; v < V; v++) totals.of[tap].v[v] += other.v[v];
        }
      }
      __syncthreads();
    }
    if (lane != 0) return;
#pragma unroll 1
    for (int row = block; row < S::chunks; row += blocks)
#pragma unroll
      for (int tap = 0; tap < Taps; tap++)
        store<V>(partial, (row * Taps + Taps - 1 - tap) * S::c + W::channel(), row == block ? totals.of[tap] : zero<V>());
  }
};
