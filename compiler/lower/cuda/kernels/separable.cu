// Separable convolutions, [BatchNorm →] ReLU → depthwise → pointwise, and their way back. What lies between the two
// convolutions is made in shared memory, tile by tile, and made again on the way back instead of being kept.
//
// S of all: images, h, w, c (of x), oh, ow, o (of the result), kh, kw, sh, sw, dh, dw (dilations), ph, pw (pads before) of the
// depthwise convolution; bh, bw: a tile; down, across: tiles of an image; chunks: how many blocks share the tiles; prologue,
// eps; copied: the filters have room in shared memory; tf32: products of
// factors rounded to 10 bits. Channels come in packs of 4.

// AtOnce is how many rows of a filter the compiler may work on at once: it would load them all before it multiplies any, and spill, if they are
// many or if threads keep much besides.
template <int KH, bool Busy = false> constexpr int AtOnce = KH > 3 || Busy ? 1 : KH;

// Window is a depthwise convolution of tiles of BH by BW results. A thread makes four results of a row, Step apart, for
// they share most of what they read: of the Span inputs, Unit apart, result i reads those from i·A on, B apart. Results
// beyond BW are made in vain.
template <int KH, int KW, int SH, int SW, int DH, int DW, int BH, int BW, int C> struct Window {
  static constexpr int Step = SW == 1 ? DW : 1, Unit = SW == 1 ? DW : DW % SW == 0 ? SW : 1;
  static constexpr int A = SW * Step / Unit, B = DW / Unit, Span = 3 * A + (KW - 1) * B + 1;
  static constexpr int Strips = Step * ceiling(ceiling(BW, Step), 4), Wide = 4 * Strips;
  static constexpr int Rows = (BH - 1) * SH + (KH - 1) * DH + 1, Columns = (Wide - 1) * SW + (KW - 1) * DW + 1;
  static constexpr int Packs = C / 4, Lanes = Threads / Packs;
  static constexpr int Stride = Columns * C + (C % 32 == 16 && Columns % 2 == 0 ? 16 : 0); // rows start in other memory banks
  static constexpr int Size = Rows * Stride;

  // fill loads the inputs of a tile whose first is at (top, left) of an image of h by w, zero outside of it.
  template <class T, class F> __device__ static inline void fill(T tile, int top, int left, int h, int w, F get) {
#pragma unroll 4
    for (int i = thread(); i < Rows * Columns * Packs; i += Threads) {
      int channel = i % Packs * 4, column = i / Packs % Columns, row = i / Packs / Columns, r = top + row, q = left + column;
      Pack<4> v = zero<4>();
      if (r >= 0 && r < h && q >= 0 && q < w) v = get(r, q, channel);
      store<4>(tile, row * Stride + column * C + channel, v);
    }
  }

  // channel of all that this thread makes; one at or behind C has no part.
  __device__ static inline int channel() { return thread() < Lanes * Packs ? thread() % Packs * 4 : C; }

  template <class T> __device__ static inline void inputs(Pack<4> (&in)[Span], T tile, int row, int column, int channel) {
#pragma unroll
    for (int t = 0; t < Span; t++) in[t] = load<4>(tile, row * Stride + (column * SW + t * Unit) * C + channel);
  }

  // each makes the results of a tile: put(row, column, channel, four sums). Flipped takes the taps in opposite order; Busy says that put needs
  // registers of its own.
  template <bool Flipped, bool Busy, class T, class U, class F> __device__ static inline void each(T tile, U filter, F put) {
    if (channel() >= C) return;
    for (int i = thread() / Packs; i < BH * Strips; i += Lanes) {
      int row = i % BH, strip = i / BH, column = strip / Step * 4 * Step + strip % Step;
      Pack<4> sum[4] = {zero<4>(), zero<4>(), zero<4>(), zero<4>()};
#pragma unroll (AtOnce<KH, Busy>)
      for (int a = 0; a < KH; a++) {
        Pack<4> in[Span];
        inputs(in, tile, row * SH + a * DH, column, channel());
#pragma unroll
        for (int b = 0; b < KW; b++) {
          Pack<4> f = load<4>(filter, (Flipped ? KH * KW - 1 - a * KW - b : a * KW + b) * C + channel());
          for (int j = 0; j < 4; j++)
            for (int v = 0; v < 4; v++) sum[j].v[v] += in[j * A + b * B].v[v] * f.v[v];
        }
      }
#pragma unroll
      for (int j = 0; j < 4; j++) put(row, column + j * Step, channel(), sum[j]);
    }
  }
};

// Copied is a filter of Rows by Columns in shared memory, if there is room for it; if not, it is read where it is. Stride is that of its rows, Apart
// longer than they are, which keeps the lanes of a warp out of one another's memory banks.
template <int Rows, int Columns, bool Room, int Apart> struct Copied {
  static constexpr int Stride = Columns + (Room ? Apart : 0), Size = Room ? Rows * Stride : 0;

  __device__ static inline void fill(int at, In<float> filter) {
    if constexpr (Room) {
      auto copy = shared<float>(at, Size);
      for (int i = 4 * thread(); i < Rows * Columns; i += 4 * Threads) store<4>(copy, i / Columns * Stride + i % Columns, load<4>(filter, i));
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

// Tile is where a tile of an image lies.
template <class S> struct Tile {
  int image, row, column;
  __device__ inline explicit Tile(int i)
      : image(i / (S::down * S::across)), row(i / S::across % S::down * S::bh), column(i % S::across * S::bw) {}
  static constexpr int Count = S::images * S::down * S::across, Pixels = S::bh * S::bw;
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
  // normalized is what the ReLU reads.
  template <class T> __device__ static inline Pack<4> normalized(T room, Pack<4> x, int channel) {
    if constexpr (Count > 0) {
      Pack<4> center = load<4>(room, channel), factor = load<4>(room, S::c + channel), shift = load<4>(room, 2 * S::c + channel);
      for (int v = 0; v < 4; v++) x.v[v] = (x.v[v] - center.v[v]) * factor.v[v] + shift.v[v];
    }
    return x;
  }
  template <class T> __device__ static inline Pack<4> apply(T room, Pack<4> x, int channel) {
    x = normalized(room, x, channel);
    if constexpr (S::prologue >= 1)
      for (int v = 0; v < 4; v++) x.v[v] = fmaxf(x.v[v], 0.0f);
    return x;
  }
};

// Matrix multiplies the rows of shared memory [rows][K + 4] by a matrix of weights [K][N], or its transpose [N][K], whose rows are Stride
// apart, on tensor cores. Tiles of 16 by 8 results are shared by the eight warps, WarpsM of them along the rows; a warp has Each tiles side
// by side. RowsThere rows must be there.
template <int Rows, int K, int N, bool Transposed, int Stride, bool Exact> struct Matrix {
  static constexpr int TilesM = ceiling(Rows, 16), TilesN = ceiling(N, 8), RowsThere = 16 * TilesM;
  static constexpr int WarpsM = TilesM >= 8 ? 8 : TilesM >= 4 ? 4 : TilesM >= 2 ? 2 : 1, Each = ceiling(TilesN, 8 / WarpsM);

  // column of the first of the two results in a row of the thread's tile i; one at or behind N has no part.
  __device__ static inline int column(int i) { return (thread() / 32 / WarpsM * Each + i) * 8 + thread() % 4 * 2; }

  // each calls put(row, i, first and second result) for each tile i.
  template <class T, class U, class F> __device__ static inline void each(T rows, U w, F put) {
    int g = thread() % 32 / 4, t = thread() % 4, left = thread() / 32 / WarpsM * Each;
    for (int m = thread() / 32 % WarpsM; m < TilesM; m += WarpsM) {
      float sum[Each][4] = {};
      if constexpr (Exact && K < 16) {
        for (int n = 0; n < Each; n++)
          for (int i = 0; i < 4; i++) {
            int row = m * 16 + g + i / 2 * 8, c = column(n) + i % 2;
            double total = 0;
            for (int k = 0; k < K && c < N; k++) total += (double)rows[row * (K + 4) + k] * w[Transposed ? c * Stride + k : k * Stride + c];
            sum[n][i] = (float)total;
          }
      }
#pragma unroll 2
      for (int k = 0; k < K && !(Exact && K < 16); k += 8) {
        float a[4];
        for (int i = 0; i < 4; i++) a[i] = inside(k + t + i / 2 * 4) ? rows[(m * 16 + g + i % 2 * 8) * (K + 4) + k + t + i / 2 * 4] : 0.0f;
        Split<4, Exact> left_factor(a);
#pragma unroll
        for (int n = 0; n < Each; n++) {
          int c = (left + n) * 8 + g;
          if (left + n >= TilesN) continue;
          float b[2];
          for (int i = 0; i < 2; i++) b[i] = inside(k + t + 4 * i) && (N % 8 == 0 || c < N) ? w[Transposed ? c * Stride + k + t + 4 * i : (k + t + 4 * i) * Stride + c] : 0.0f;
          multiply_split(sum[n], left_factor, Split<2, Exact>(b));
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
  __device__ static inline bool inside(int k) { return K % 8 == 0 || k < K; }
};

// sum_rows adds get(row, item) over all rows: each item is shared by several threads, whose shares are added in order. The
// last step, put(item, total), is that of one thread an item. Shares lie in shared memory from its beginning on.
template <int Rows, int Items> constexpr int Shares = larger(1, smaller(Rows, Threads / Items));
template <int Rows, int Items> constexpr int ShareBytes = 8 * Shares<Rows, Items> * Items;

template <int Rows, int Items, class G, class F> __device__ inline void sum_rows(G get, F put) {
  double mine[ceiling(Shares<Rows, Items> * Items, Threads)];
  int n = 0;
  for (int i = thread(); i < Shares<Rows, Items> * Items; i += Threads) {
    double total = 0;
#pragma unroll 8
    for (int row = i / Items; row < Rows; row += Shares<Rows, Items>) total += get(row, i % Items);
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

// channel_sums adds two sums of each of N channels: first the Rows partial ones of a block, which fill(room) writes as [Rows][2][N], then
// those of all blocks, in order, by the last of them to come here, which calls finish(channel, first, second). Partial is [chunks][2][N].
template <int N, int Rows, int Chunks, class G, class F>
__device__ inline void channel_sums(Out<double> partial, int counter, int chunk, G fill, F finish) {
  constexpr int Items = 2 * N;
  __syncthreads();
  auto room = shared<double>(0, Rows * Items);
  fill(room);
  __syncthreads();
  sum_rows<Rows, Items>([&](int row, int i) { return room[row * Items + i]; }, [&](int i, double total) { partial[chunk * Items + i] = total; });
  if (!last_block(counter, Chunks)) return;
  auto totals = shared<double>(ShareBytes<Chunks, Items>, Items);
  sum_rows<Chunks, Items>([&](int row, int i) { return fresh(partial, row * Items + i); }, [&](int i, double total) { totals[i] = total; });
  __syncthreads();
  for (int c = thread(); c < N; c += Threads) finish(c, totals[c], totals[N + c]);
}

// add adds sums of a few numbers to sums of many.
template <int N> __device__ inline void add(double (&sums)[2][N], const float (&part)[2][N]) {
  for (int j = 0; j < 2; j++)
    for (int k = 0; k < N; k++) sums[j][k] += (double)part[j][k];
}

// Separable: z, and with S::stats the mean and biased variance of its channels (group separable).
// S: also stats.
template <class S> struct Separable {
  typedef Window<S::kh, S::kw, S::sh, S::sw, S::dh, S::dw, S::bh, S::bw, S::c> W;
  typedef Copied<S::kh * S::kw, S::c, S::copied, 0> D;
  typedef Copied<S::c, S::o, S::copied, 8> P;
  typedef Matrix<Tile<S>::Pixels, S::c, S::o, false, P::Stride, !S::tf32> M;
  static constexpr int FactorsAt = 0, DepthwiseAt = 4 * Factors<S>::Count, PointwiseAt = DepthwiseAt + 4 * D::Size; // bytes
  static constexpr int TileAt = PointwiseAt + 4 * P::Size, BetweenAt = TileAt + 4 * W::Size;
  Prologue<S> before;
  In<typename S::Image> x;
  In<float> depthwise, pointwise;
  Out<typename S::Image> z;
  Out<float> mean, variance;
  Out<double> partial;
  int counter;

  __device__ void run(int block) const {
    auto factors = shared<float>(FactorsAt, Factors<S>::Count);
    auto tile = shared<float>(TileAt, W::Size);
    auto between = shared<float>(BetweenAt, M::RowsThere * (S::c + 4));
    Factors<S>::make(factors, before);
    D::fill(DepthwiseAt, depthwise);
    P::fill(PointwiseAt, pointwise);
    __syncthreads();
    double sums[2][2 * M::Each] = {};
    for (int i = block; i < Tile<S>::Count; i += S::chunks) {
      Tile<S> at(i);
      float part[2][2 * M::Each] = {};
      W::fill(tile, at.row * S::sh - S::ph, at.column * S::sw - S::pw, S::h, S::w, [&](int r, int q, int channel) {
        return Factors<S>::apply(factors, load<4>(x, ((at.image * S::h + r) * S::w + q) * S::c + channel), channel);
      });
      __syncthreads();
      W::template each<false, false>(tile, D::from(DepthwiseAt, depthwise), [&](int row, int column, int channel, const Pack<4>& v) {
        if (column < S::bw) store<4>(between, (row * S::bw + column) * (S::c + 4) + channel, v);
      });
      __syncthreads();
      M::each(between, P::from(PointwiseAt, pointwise), [&](int pixel, int n, float first, float second) {
        int r = at.row + pixel / S::bw, q = at.column + pixel % S::bw;
        if (pixel >= Tile<S>::Pixels || r >= S::oh || q >= S::ow) return;
        store2(z, ((at.image * S::oh + r) * S::ow + q) * S::o + M::column(n), first, second);
        part[0][2 * n] += first, part[0][2 * n + 1] += second;
        part[1][2 * n] += first * first, part[1][2 * n + 1] += second * second;
      });
      add(sums, part);
    }
    if constexpr (S::stats) {
      channel_sums<S::o, 8 * M::WarpsM, S::chunks>(partial, counter, block, [&](Shared<double> room) {
        int row = thread() / 32 % M::WarpsM * 8 + thread() % 32 / 4;
        for (int n = 0; n < M::Each; n++)
          for (int k = 0; k < 2; k++)
            if (M::column(n) < S::o)
              for (int j = 0; j < 2; j++) room[(row * 2 + j) * S::o + M::column(n) + k] = sums[j][2 * n + k];
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
  typedef Window<S::kh, S::kw, S::sh, S::sw, S::dh, S::dw, S::bh, S::bw, S::c> W;
  typedef Copied<S::kh * S::kw, S::c, S::copied && S::filters, 0> D;
  typedef Copied<S::c, S::o, S::copied, 4> P;
  typedef Matrix<Tile<S>::Pixels, S::o, S::c, true, P::Stride, !S::tf32> M;
  static constexpr int Rows = M::RowsThere, Coefficients = S::normalized ? 4 * S::o : 0;
  static constexpr int FactorsAt = 0, DepthwiseAt = S::filters ? 4 * Factors<S>::Count : 0, PointwiseAt = DepthwiseAt + 4 * D::Size;
  static constexpr int CoefficientsAt = PointwiseAt + 4 * P::Size, CotangentAt = CoefficientsAt + 4 * Coefficients;
  static constexpr int TileAt = CotangentAt + 4 * Rows * (S::o + 4), AgainAt = TileAt + 4 * W::Size;
  // Tiles of 16 by 8 of the filter's elements, each warp some of them; if there are few, groups of warps share the pixels.
  static constexpr int TilesO = ceiling(S::o, 8), Tiles = ceiling(S::c, 16) * TilesO;
  static constexpr int Groups = Tiles <= 1 ? 8 : Tiles <= 2 ? 4 : Tiles <= 4 ? 2 : 1, Each = ceiling(Tiles, 8 / Groups), Again = S::c + 8;
  Prologue<S> before;
  In<typename S::Image> g, z;
  In<float> mean, variance, sum, sum_x, gamma, weights, pointwise;
  In<typename S::Image> x;
  In<float> depthwise;
  Out<typename S::Image> between;
  Out<float> partial;
  int scale;

  __device__ void run(int block) const {
    auto factors = shared<float>(FactorsAt, S::filters ? Factors<S>::Count : 0);
    auto coefficients = shared<float>(CoefficientsAt, Coefficients);
    auto cotangent = shared<float>(CotangentAt, Rows * (S::o + 4));
    if constexpr (S::filters) Factors<S>::make(factors, before);
    D::fill(DepthwiseAt, depthwise);
    P::fill(PointwiseAt, pointwise);
    make(coefficients);
    __syncthreads();
    float totals[Each][4] = {};
    for (int i = block; i < Tile<S>::Count; i += S::chunks) {
      Tile<S> at(i);
      fill(cotangent, coefficients, at);
      if constexpr (S::filters) {
        W::fill(shared<float>(TileAt, W::Size), at.row * S::sh - S::ph, at.column * S::sw - S::pw, S::h, S::w, [&](int r, int q, int channel) {
          return Factors<S>::apply(factors, load<4>(x, ((at.image * S::h + r) * S::w + q) * S::c + channel), channel);
        });
      }
      __syncthreads();
      M::each(cotangent, P::from(PointwiseAt, pointwise), [&](int pixel, int n, float first, float second) {
        int r = at.row + pixel / S::bw, q = at.column + pixel % S::bw;
        if (pixel < Tile<S>::Pixels && r < S::oh && q < S::ow) store2(between, ((at.image * S::oh + r) * S::ow + q) * S::c + M::column(n), first, second);
      });
      if constexpr (S::filters) {
        auto again = shared<float>(AgainAt, Tile<S>::Pixels * Again);
        W::template each<false, false>(shared<float>(TileAt, W::Size), D::from(DepthwiseAt, depthwise), [&](int row, int column, int channel, const Pack<4>& v) {
          if (column < S::bw) store<4>(again, (row * S::bw + column) * Again + channel, v);
        });
        __syncthreads();
        accumulate(totals, again, cotangent);
      }
      __syncthreads();
    }
    if constexpr (S::filters) finish(totals, block);
  }

  // make computes the cotangent of z as a·g + b·(z - center) + d; see BatchNormInputGrad.
  template <class T> __device__ inline void make(T room) const {
    if constexpr (S::normalized) {
      constexpr double Count = (double)S::images * S::oh * S::ow;
      for (int o = thread(); o < S::o; o += Threads) {
        double inverse = 1 / sqrt((double)variance[o] + S::norm_eps), factor = inverse;
        if constexpr (S::affine) factor *= gamma[o];
        if constexpr (S::scaled) factor *= weights[scale];
        room[o] = (float)factor;
        room[S::o + o] = (float)(-factor * inverse * sum_x[o] / Count);
        room[2 * S::o + o] = mean[o];
        room[3 * S::o + o] = (float)(-factor * sum[o] / Count);
      }
    }
  }
  template <class T> __device__ inline void fill(T cotangent, T coefficients, const Tile<S>& at) const {
    constexpr int Packs = S::o / 4;
#pragma unroll 4
    for (int i = thread(); i < Rows * Packs; i += Threads) {
      int o = i % Packs * 4, pixel = i / Packs, r = at.row + pixel / S::bw, q = at.column + pixel % S::bw;
      Pack<4> v = zero<4>();
      if (pixel < Tile<S>::Pixels && r < S::oh && q < S::ow) {
        int from = ((at.image * S::oh + r) * S::ow + q) * S::o + o;
        v = load<4>(g, from);
        if constexpr (S::normalized) {
          Pack<4> made = load<4>(z, from), a = load<4>(coefficients, o), b = load<4>(coefficients, S::o + o);
          Pack<4> center = load<4>(coefficients, 2 * S::o + o), d = load<4>(coefficients, 3 * S::o + o);
          for (int k = 0; k < 4; k++) v.v[k] = a.v[k] * v.v[k] + b.v[k] * (made.v[k] - center.v[k]) + d.v[k];
        }
      }
      store<4>(cotangent, pixel * (S::o + 4) + o, v);
    }
  }
  __device__ static inline int group() { return thread() / 32 / (8 / Groups); }
  // tile is the number of the warp's tile n.
  __device__ static inline int tile(int n) { return thread() / 32 % (8 / Groups) * Each + n; }

  template <class T> __device__ static inline void accumulate(float (&totals)[Each][4], T again, T cotangent) {
    int g = thread() % 32 / 4, t = thread() % 4;
#pragma unroll
    for (int n = 0; n < Each; n++) {
      int channel = tile(n) / TilesO * 16 + g, o = tile(n) % TilesO * 8 + g;
      if (tile(n) >= Tiles) continue;
      if constexpr (!S::tf32 && S::c < 16) { // as in Matrix
        for (int i = 0; i < 4; i++) {
          int c = channel + i / 2 * 8, column = o - g + 2 * t + i % 2;
          double total = 0;
          for (int pixel = group(); pixel < Tile<S>::Pixels && c < S::c && column < S::o; pixel += Groups)
            total += (double)again[pixel * Again + c] * cotangent[pixel * (S::o + 4) + column];
          totals[n][i] += (float)total;
        }
        continue;
      }
#pragma unroll 2
      for (int k = 8 * group(); k < Tile<S>::Pixels; k += 8 * Groups) {
        float a[4], b[2];
        for (int i = 0; i < 4; i++) {
          int pixel = k + t + i / 2 * 4, c = channel + i % 2 * 8;
          a[i] = (Tile<S>::Pixels % 8 == 0 || pixel < Tile<S>::Pixels) && (S::c % 16 == 0 || c < S::c) ? again[pixel * Again + c] : 0.0f;
        }
        for (int i = 0; i < 2; i++) {
          int pixel = k + t + i * 4;
          b[i] = (Tile<S>::Pixels % 8 == 0 || pixel < Tile<S>::Pixels) && (S::o % 8 == 0 || o < S::o) ? cotangent[pixel * (S::o + 4) + o] : 0.0f;
        }
        multiply_split(totals[n], Split<4, !S::tf32>(a), Split<2, !S::tf32>(b));
      }
    }
  }
  // finish adds what the groups have, in order.
  __device__ inline void finish(const float (&totals)[Each][4], int block) const {
    auto room = shared<float>(0, Groups * S::c * S::o);
#pragma unroll
    for (int n = 0; n < Each; n++) {
      for (int i = 0; i < 4; i++) {
        int c = tile(n) / TilesO * 16 + thread() % 32 / 4 + i / 2 * 8, o = tile(n) % TilesO * 8 + thread() % 4 * 2 + i % 2;
        if (tile(n) < Tiles && c < S::c && o < S::o) room[(group() * S::c + c) * S::o + o] = totals[n][i];
      }
    }
    __syncthreads();
    for (int i = thread(); i < S::c * S::o; i += Threads) {
      double total = 0;
      for (int group = 0; group < Groups; group++) total += (double)room[group * S::c * S::o + i];
      partial[block * S::c * S::o + i] = (float)total;
    }
  }
};

// SeparableDepthwiseGrad: the second half of the way back, tile by tile of x, from the cotangent of what lies between: dx,
// which with S::masked is zero where the ReLU was; with S::filters partial [chunks][kh][kw][c], which sums to the cotangent of the
// depthwise filter; with S::sums those of operation batch_norm_sums of dx and x.
// S: also masked, filters, sums.
template <class S> struct SeparableDepthwiseGrad {
  static constexpr bool Dense = S::sh == 1 && S::sw == 1;
  // At stride 1 the cotangent is a convolution too, by the filter's taps in opposite order.
  typedef Window<S::kh, S::kw, 1, 1, S::dh, S::dw, S::bh, S::bw, S::c> W;
  static constexpr int Rows = Dense ? W::Rows : (S::bh - 1 + (S::kh - 1) * S::dh) / S::sh + 2;
  static constexpr int Columns = Dense ? W::Columns : (S::bw - 1 + (S::kw - 1) * S::dw) / S::sw + 2;
  static constexpr int Stride = Dense ? W::Stride : Columns * S::c, Size = Rows * Stride;
  static constexpr int ActiveStride = W::Wide * S::c + (S::c % 32 == 16 ? 16 : 0);
  typedef Copied<S::kh * S::kw, S::c, S::copied, 0> D;
  static constexpr int FactorsAt = 0, DepthwiseAt = 4 * Factors<S>::Count, TileAt = DepthwiseAt + 4 * D::Size, ActiveAt = TileAt + 4 * Size;
  // A thread has the taps of a row of the filter, for a pack of channels; groups of threads share the pixels.
  static constexpr int Items = S::c / 4 * S::kh, Rounds = ceiling(Items, Threads), Groups = larger(1, Threads / Items), Taps = S::kh * S::kw;
  Prologue<S> before;
  In<typename S::Image> between;
  In<float> depthwise;
  In<typename S::Image> x;
  Out<typename S::Image> dx;
  Out<float> partial, sum, sum_x;
  Out<double> partial_sums;
  int counter;

  __device__ void run(int block) const {
    auto factors = shared<float>(FactorsAt, Factors<S>::Count);
    auto tile = shared<float>(TileAt, Size);
    auto active = shared<float>(ActiveAt, S::filters ? S::bh * ActiveStride : 0);
    Factors<S>::make(factors, before);
    D::fill(DepthwiseAt, depthwise);
    __syncthreads();
    float totals[Rounds][S::kw][4] = {};
    double sums[2][4] = {};
    for (int i = block; i < Tile<S>::Count; i += S::chunks) {
      Tile<S> at(i);
      float part[2][4] = {};
      fill(tile, at);
      __syncthreads();
      each(tile, at, [&](int row, int column, int channel, Pack<4> v) {
        int r = at.row + row, q = at.column + column, from = ((at.image * S::h + r) * S::w + q) * S::c + channel;
        bool inside = r < S::h && q < S::w && column < S::bw;
        Pack<4> a = zero<4>();
        if (inside) {
          if constexpr (S::masked || S::filters) {
            Pack<4> source = load<4>(x, from);
            a = Factors<S>::normalized(factors, source, channel);
            if constexpr (S::prologue >= 1)
              for (int k = 0; k < 4; k++) a.v[k] = fmaxf(a.v[k], 0.0f);
            if constexpr (S::masked)
              for (int k = 0; k < 4; k++) v.v[k] = a.v[k] > 0 ? v.v[k] : 0.0f;
            if constexpr (S::sums) {
              Pack<4> center = load<4>(factors, channel);
              for (int k = 0; k < 4; k++) part[0][k] += v.v[k], part[1][k] += v.v[k] * (source.v[k] - center.v[k]);
            }
          }
          store<4>(dx, from, v);
        }
        if constexpr (S::filters) store<4>(active, row * ActiveStride + column * S::c + channel, a);
      });
      if constexpr (S::sums) add(sums, part);
      if constexpr (S::filters) {
        __syncthreads();
        accumulate(totals, tile, active, at);
      }
      __syncthreads();
    }
    if constexpr (S::filters) finish(totals, block);
    if constexpr (S::sums) {
      channel_sums<S::c, W::Lanes, S::chunks>(partial_sums, counter, block, [&](Shared<double> room) {
        if (W::channel() >= S::c) return;
        for (int j = 0; j < 2; j++)
          for (int v = 0; v < 4; v++) room[(thread() / W::Packs * 2 + j) * S::c + W::channel() + v] = sums[j][v];
      }, [&](int channel, double first, double second) {
        sum[channel] = (float)first;
        sum_x[channel] = (float)(second / sqrt((double)before.variance[channel] + S::eps));
      });
    }
  }

  // The first row or column of the cotangent that a tile needs: the floor of what may be negative.
  __device__ static inline int first(int at, int pad, int taps, int dilation, int stride) {
    int t = at + pad - (taps - 1) * dilation;
    return t >= 0 ? t / stride : -((stride - 1 - t) / stride);
  }

  template <class T> __device__ inline void fill(T tile, const Tile<S>& at) const {
    int top = first(at.row, S::ph, S::kh, S::dh, S::sh), left = first(at.column, S::pw, S::kw, S::dw, S::sw);
    constexpr int Packs = S::c / 4;
#pragma unroll 4
    for (int i = thread(); i < Rows * Columns * Packs; i += Threads) {
      int channel = i % Packs * 4, column = i / Packs % Columns, row = i / Packs / Columns, r = top + row, q = left + column;
      Pack<4> v = zero<4>();
      if (r >= 0 && r < S::oh && q >= 0 && q < S::ow) v = load<4>(between, ((at.image * S::oh + r) * S::ow + q) * S::c + channel);
      store<4>(tile, row * Stride + column * S::c + channel, v);
    }
  }

  // source is the row or column of a tile that input i meets through a tap, or -1.
  __device__ static inline int source(int at, int i, int tap, int pad, int taps, int dilation, int stride) {
    int t = at + i + pad - tap * dilation;
    return t % stride == 0 ? t / stride - first(at, pad, taps, dilation, stride) : -1;
  }
  __device__ static inline int source_row(const Tile<S>& at, int row, int a) { return source(at.row, row, a, S::ph, S::kh, S::dh, S::sh); }
  __device__ static inline int source_column(const Tile<S>& at, int column, int b) { return source(at.column, column, b, S::pw, S::kw, S::dw, S::sw); }

  // each makes the cotangents of a tile: put(row, column, channel, four).
  template <class T, class F> __device__ inline void each(T tile, const Tile<S>& at, F put) const {
    if constexpr (Dense) {
      W::template each<true, S::sums>(tile, D::from(DepthwiseAt, depthwise), put);
    } else {
      int channel = W::channel();
      auto filter = D::from(DepthwiseAt, depthwise);
      if (channel >= S::c) return;
      for (int i = thread() / W::Packs; i < S::bh * S::bw; i += W::Lanes) {
        Pack<4> v = zero<4>();
#pragma unroll (AtOnce<S::kh>)
        for (int a = 0; a < S::kh; a++) {
          int row = source_row(at, i / S::bw, a);
#pragma unroll
          for (int b = 0; b < S::kw; b++) {
            int column = source_column(at, i % S::bw, b);
            if (row < 0 || column < 0) continue;
            Pack<4> g = load<4>(tile, row * Stride + column * S::c + channel), f = load<4>(filter, (a * S::kw + b) * S::c + channel);
            for (int k = 0; k < 4; k++) v.v[k] += g.v[k] * f.v[k];
          }
        }
        put(i / S::bw, i % S::bw, channel, v);
      }
    }
  }

  template <class T> __device__ static inline void accumulate(float (&totals)[Rounds][S::kw][4], T tile, T active, const Tile<S>& at) {
#pragma unroll
    for (int round = 0; round < Rounds; round++) {
      int item = Groups > 1 ? thread() % Items : round * Threads + thread(), group = Groups > 1 ? thread() / Items : 0;
      if (item >= Items || group >= Groups) continue;
      int channel = item % W::Packs * 4, a = item / W::Packs;
      if constexpr (Dense) {
        for (int i = group; i < S::bh * W::Strips; i += Groups) {
          int row = i % S::bh, strip = i / S::bh, column = strip / W::Step * 4 * W::Step + strip % W::Step;
          Pack<4> in[W::Span];
          W::inputs(in, tile, row + (S::kh - 1 - a) * S::dh, column, channel);
#pragma unroll
          for (int j = 0; j < 4; j++) {
            Pack<4> r = load<4>(active, row * ActiveStride + (column + j * W::Step) * S::c + channel);
            for (int b = 0; b < S::kw; b++)
              for (int k = 0; k < 4; k++) totals[round][b][k] += r.v[k] * in[j * W::A + (S::kw - 1 - b) * W::B].v[k];
          }
        }
      } else {
        for (int i = group; i < S::bh * S::bw; i += Groups) {
          int row = source_row(at, i / S::bw, a);
          if (row < 0) continue;
          Pack<4> r = load<4>(active, i / S::bw * ActiveStride + i % S::bw * S::c + channel);
#pragma unroll
          for (int b = 0; b < S::kw; b++) {
            int column = source_column(at, i % S::bw, b);
            if (column < 0) continue;
            Pack<4> g = load<4>(tile, row * Stride + column * S::c + channel);
            for (int k = 0; k < 4; k++) totals[round][b][k] += r.v[k] * g.v[k];
          }
        }
      }
    }
  }
  // finish adds what the groups have, in order.
  __device__ inline void finish(const float (&totals)[Rounds][S::kw][4], int block) const {
    auto room = shared<float>(0, Groups * Taps * S::c);
#pragma unroll
    for (int round = 0; round < Rounds; round++) {
      int item = Groups > 1 ? thread() % Items : round * Threads + thread(), group = Groups > 1 ? thread() / Items : 0;
      if (item >= Items || group >= Groups) continue;
      int channel = item % W::Packs * 4, a = item / W::Packs;
      for (int b = 0; b < S::kw; b++)
        for (int k = 0; k < 4; k++) room[(group * Taps + a * S::kw + b) * S::c + channel + k] = totals[round][b][k];
    }
    __syncthreads();
    for (int i = thread(); i < Taps * S::c; i += Threads) {
      double total = 0;
      for (int group = 0; group < Groups; group++) total += (double)room[group * Taps * S::c + i];
      partial[block * Taps * S::c + i] = (float)total;
    }
  }
};
