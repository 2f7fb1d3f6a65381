// Product computes tiles of c[m][n] = Σ a(m, k)·b(k, n) for whatever a and b are: matrices, or images seen as matrices by a
// convolution. A block computes BM by BN results, BK products deep at a time, each thread 4 by 4 of them; where a tile has
// fewer than 4096 results, several groups of threads share its products and their sums are added in order. With more than
// one split the products are divided between blocks too, and the last block of a tile adds the splits in order.
//
// S: m, n, k, bm, bn, bk, splits; tf32 (on tensor cores, where a tile has 4096 results); a_along_k, b_along_k: neighbours in memory are neighbours along k, else along m or n; va, vb:
// how many of them are loaded at once. P: a<V>(m, k) and b<V>(k, n), V neighbours from a position inside, put(m, n,
// value); fields partial [splits][m][n] and counter.
template <class S, class P> struct Product {
  static constexpr int TileM = ceiling(S::m, S::bm), TileN = ceiling(S::n, S::bn), Tiles = TileM * TileN;
  static constexpr int Sub = (S::bm / 4) * (S::bn / 4), Groups = Threads / Sub, Depth = S::bk / Groups;
  // Rows apart in memory banks, for what a warp reads at once, and aligned to 16 bytes.
  static constexpr int Apart = S::tf32 ? 8 : 4, StrideA = S::bm + Apart, StrideB = S::bn + Apart;
  static constexpr int RoomA = 0, RoomB = 4 * S::bk * StrideA;   // bytes

  __device__ static inline void run(const P& p, int block) {
    int tile = block % Tiles, split = block / Tiles, m0 = tile / TileN * S::bm, n0 = tile % TileN * S::bn;
    auto ta = shared<float>(RoomA, S::bk * StrideA);
    auto tb = shared<float>(RoomB, S::bk * StrideB);
    int group = thread() / Sub, local = thread() % Sub, tm = local / (S::bn / 4) * 4, tn = local % (S::bn / 4) * 4;
    float sum[4][4] = {}; // of four by four results; with S::tf32, of four tiles of multiply_tf32
    // Splits are whole steps of bk.
    constexpr int Steps = ceiling(S::k, S::bk);
    int from = (int)((i64)Steps * split / S::splits) * S::bk, to = smaller(S::k, (int)((i64)Steps * (split + 1) / S::splits) * S::bk);
    for (int k0 = from; k0 < to; k0 += S::bk) {
      load_tile<S::bm, S::m, StrideA, S::a_along_k, S::va>(ta, m0, k0, [&](int m, int k) { return p.template a<S::va>(m, k); });
      load_tile<S::bn, S::n, StrideB, S::b_along_k, S::vb>(tb, n0, k0, [&](int n, int k) { return p.template b<S::vb>(k, n); });
      __syncthreads();
      if constexpr (S::tf32) {
        multiply(sum, ta, tb);
        __syncthreads();
        continue;
      }
      float part[4][4] = {}; // sums of few products, added to sums of many: half the digits lost
#pragma unroll
      for (int k = 0; k < Depth; k++) {
        float4 a = load4(ta, (group * Depth + k) * StrideA + tm), b = load4(tb, (group * Depth + k) * StrideB + tn);
        float av[4] = {a.x, a.y, a.z, a.w}, bv[4] = {b.x, b.y, b.z, b.w};
        for (int i = 0; i < 4; i++)
          for (int j = 0; j < 4; j++) part[i][j] += av[i] * bv[j];
      }
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sum[i][j] += part[i][j];
      __syncthreads();
    }
    if constexpr (Groups > 1) {
      auto room = shared<float>(0, Threads * 16);
      for (int i = 0; i < 16; i++) room[thread() * 16 + i] = sum[i / 4][i % 4];
      __syncthreads();
      if (group == 0) {
        for (int i = 0; i < 16; i++) {
          double total = 0;
          for (int g = 0; g < Groups; g++) total += (double)room[(g * Sub + local) * 16 + i];
          sum[i / 4][i % 4] = (float)total;
        }
      }
    }
    if constexpr (S::splits == 1) {
      if (group != 0) return;
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
          int m = m0 + row(tm, i, j), n = n0 + column(tn, i, j);
          if (m < S::m && n < S::n) p.put(m, n, sum[i][j]);
        }
    } else {
      if (group == 0) {
        for (int i = 0; i < 4; i++)
          for (int j = 0; j < 4; j++) {
            int m = m0 + row(tm, i, j), n = n0 + column(tn, i, j);
            if (m < S::m && n < S::n) p.partial[(split * S::m + m) * S::n + n] = sum[i][j];
          }
      }
      if (!last_block(p.counter + tile, S::splits)) return;
      for (int i = thread(); i < S::bm * S::bn; i += Threads) {
        int m = m0 + i / S::bn, n = n0 + i % S::bn;
        if (m >= S::m || n >= S::n) continue;
        double total = 0;
        for (int s = 0; s < S::splits; s++) total += (double)fresh(p.partial, (s * S::m + m) * S::n + n);
        p.put(m, n, (float)total);
      }
    }
  }

  // The place in the tile of element (i, j) of a thread's sums.
  __device__ static inline int row(int tm, int i, int j) {
    if constexpr (!S::tf32) return tm + i;
    return (thread() / 32 * 4 + i) / (S::bn / 8) * 16 + thread() % 32 / 4 + j / 2 * 8;
  }
  __device__ static inline int column(int tn, int i, int j) {
    if constexpr (!S::tf32) return tn + j;
    return (thread() / 32 * 4 + i) % (S::bn / 8) * 8 + thread() % 4 * 2 + j % 2;
  }

  // multiply adds the products of a step: of the 32 tiles of 16 by 8 results, each of the 8 warps does four.
  template <class T> __device__ static inline void multiply(float (&sum)[4][4], T ta, T tb) {
    int g = thread() % 32 / 4, t = thread() % 4;
#pragma unroll
    for (int k = 0; k < S::bk; k += 8) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int tile = thread() / 32 * 4 + i, m = tile / (S::bn / 8) * 16 + g, n = tile % (S::bn / 8) * 8 + g;
        float a[4] = {ta[(k + t) * StrideA + m], ta[(k + t) * StrideA + m + 8], ta[(k + t + 4) * StrideA + m], ta[(k + t + 4) * StrideA + m + 8]};
        float b[2] = {tb[(k + t) * StrideB + n], tb[(k + t + 4) * StrideB + n]};
        multiply_tf32(sum[i], a, b);
      }
    }
  }

  // load_tile fills [bk][stride] of shared memory with get(x0+x, k0+k), V neighbours at once, and zero outside.
  template <int Extent, int Limit, int Stride, bool AlongK, int V, class T, class F>
  __device__ static inline void load_tile(T tile, int x0, int k0, F get) {
    for (int i = thread(); i < Extent * S::bk / V; i += Threads) {
      int x = AlongK ? i / (S::bk / V) : i % (Extent / V) * V, k = AlongK ? i % (S::bk / V) * V : i / (Extent / V);
      Pack<V> p = zero<V>();
      if (x0 + x < Limit && k0 + k < S::k) p = get(x0 + x, k0 + k);
      if constexpr (AlongK) {
        for (int v = 0; v < V; v++) tile[(k + v) * Stride + x] = p.v[v];
      } else {
        store<V>(tile, k * Stride + x, p);
      }
    }
  }
};

// MatMul: z = x·y, either of them transposed (operation matmul), plus addend if S::added: a matrix like z (1), or one row for
// all of its rows (2). S: those of Product, transpose_a, transpose_b.
template <class S> struct MatMul {
  In<float> x, y, addend;
  Out<float> z, partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const { return load<V>(x, S::transpose_a ? k * S::m + m : m * S::k + k); }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(y, S::transpose_b ? n * S::k + k : k * S::n + n); }
  __device__ inline void put(int m, int n, float v) const {
    if constexpr (S::added == 1) v += addend[m * S::n + n];
    if constexpr (S::added == 2) v += addend[n];
    z[m * S::n + n] = v;
  }
  __device__ void run(int block) const { Product<S, MatMul>::run(*this, block); }
};

// Convolutions without groups, as products. S: those of Product; images, h, w, c (of x), oh, ow, o (of y), kh, kw, sh, sw,
// dh, dw, ph, pw; same (a pointwise convolution whose pixels are those of x); prologue, eps. Images channels last, filters [KH][KW][C][O].

// Convolution: rows are pixels of y, columns its channels, products taps times channels of x.
template <class S> struct Convolution {
  Prologue<S> before;
  In<float> x, filter;
  Out<float> y, partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const {
    if constexpr (S::same) return before.template apply<V>(load<V>(x, m * S::c + k), k);
    int column = m % S::ow, row = m / S::ow % S::oh, image = m / S::ow / S::oh, channel = k % S::c, tap = k / S::c;
    int r = row * S::sh - S::ph + tap / S::kw * S::dh, q = column * S::sw - S::pw + tap % S::kw * S::dw;
    if (r < 0 || r >= S::h || q < 0 || q >= S::w) return zero<V>();
    return before.template apply<V>(load<V>(x, ((image * S::h + r) * S::w + q) * S::c + channel), channel);
  }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(filter, k * S::o + n); }
  __device__ inline void put(int m, int n, float v) const { y[m * S::o + n] = v; }
  __device__ void run(int block) const { Product<S, Convolution>::run(*this, block); }
};

// ConvolutionInputGrad: rows are pixels of x, columns its channels, products taps times channels of y. Addend is added if
// S::added.
template <class S> struct ConvolutionInputGrad {
  In<float> g, filter, addend;
  Out<float> dx, partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const {
    if constexpr (S::same) return load<V>(g, m * S::o + k);
    int column = m % S::w, row = m / S::w % S::h, image = m / S::w / S::h, channel = k % S::o, tap = k / S::o;
    int r = row + S::ph - tap / S::kw * S::dh, q = column + S::pw - tap % S::kw * S::dw;
    if (r < 0 || r % S::sh != 0 || r / S::sh >= S::oh || q < 0 || q % S::sw != 0 || q / S::sw >= S::ow) return zero<V>();
    return load<V>(g, ((image * S::oh + r / S::sh) * S::ow + q / S::sw) * S::o + channel);
  }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(filter, (k / S::o * S::c + n) * S::o + k % S::o); }
  __device__ inline void put(int m, int n, float v) const {
    if constexpr (S::added) v += addend[m * S::c + n];
    dx[m * S::c + n] = v;
  }
  __device__ void run(int block) const { Product<S, ConvolutionInputGrad>::run(*this, block); }
};

// ConvolutionWeightGrad: rows are taps times channels of x, columns channels of y, products pixels of y.
template <class S> struct ConvolutionWeightGrad {
  Prologue<S> before;
  In<float> x, g;
  Out<float> df, partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const {
    if constexpr (S::same) return before.template apply<V>(load<V>(x, k * S::c + m), m);
    int column = k % S::ow, row = k / S::ow % S::oh, image = k / S::ow / S::oh, channel = m % S::c, tap = m / S::c;
    int r = row * S::sh - S::ph + tap / S::kw * S::dh, q = column * S::sw - S::pw + tap % S::kw * S::dw;
    if (r < 0 || r >= S::h || q < 0 || q >= S::w) return zero<V>();
    return before.template apply<V>(load<V>(x, ((image * S::h + r) * S::w + q) * S::c + channel), channel);
  }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(g, k * S::o + n); }
  __device__ inline void put(int m, int n, float v) const { df[m * S::o + n] = v; }
  __device__ void run(int block) const { Product<S, ConvolutionWeightGrad>::run(*this, block); }
};

// Grouped convolutions that are not depthwise, a thread for a result: no search space of DARTS has one, but any graph may.
// S: as Convolution, with groups; c and o are all channels.
template <class S> struct Grouped {
  static constexpr int C = S::c / S::groups, O = S::o / S::groups; // of a group
  Prologue<S> before;
  In<float> x, filter;
  Out<float> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::images * S::oh * S::ow * S::o; i += S::blocks * Threads) {
      int o = i % S::o, pixel = i / S::o, column = pixel % S::ow, row = pixel / S::ow % S::oh, image = pixel / S::ow / S::oh;
      float sum = 0;
      for (int tap = 0; tap < S::kh * S::kw; tap++) {
        int r = row * S::sh - S::ph + tap / S::kw * S::dh, q = column * S::sw - S::pw + tap % S::kw * S::dw;
        if (r < 0 || r >= S::h || q < 0 || q >= S::w) continue;
        for (int c = 0; c < C; c++) {
          int channel = o / O * C + c;
          Pack<1> v = load<1>(x, ((image * S::h + r) * S::w + q) * S::c + channel);
          sum += before.template apply<1>(v, channel).v[0] * filter[(tap * C + c) * S::o + o];
        }
      }
      y[i] = sum;
    }
  }
};

template <class S> struct GroupedInputGrad {
  static constexpr int C = S::c / S::groups, O = S::o / S::groups;
  In<float> g, filter, addend;
  Out<float> dx;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::images * S::h * S::w * S::c; i += S::blocks * Threads) {
      int channel = i % S::c, pixel = i / S::c, column = pixel % S::w, row = pixel / S::w % S::h, image = pixel / S::w / S::h;
      float sum = 0;
      if constexpr (S::added) sum = addend[i];
      for (int tap = 0; tap < S::kh * S::kw; tap++) {
        int r = row + S::ph - tap / S::kw * S::dh, q = column + S::pw - tap % S::kw * S::dw;
        if (r < 0 || r % S::sh != 0 || r / S::sh >= S::oh || q < 0 || q % S::sw != 0 || q / S::sw >= S::ow) continue;
        for (int k = 0; k < O; k++) {
          int o = channel / C * O + k;
          sum += g[((image * S::oh + r / S::sh) * S::ow + q / S::sw) * S::o + o] * filter[(tap * C + channel % C) * S::o + o];
        }
      }
      dx[i] = sum;
    }
  }
};

template <class S> struct GroupedWeightGrad {
  static constexpr int C = S::c / S::groups, O = S::o / S::groups;
  Prologue<S> before;
  In<float> x, g;
  Out<float> df;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::kh * S::kw * C * S::o; i += S::blocks * Threads) {
      int o = i % S::o, channel = o / O * C + i / S::o % C, tap = i / S::o / C;
      double sum = 0;
      for (int pixel = 0; pixel < S::images * S::oh * S::ow; pixel++) {
        int column = pixel % S::ow, row = pixel / S::ow % S::oh, image = pixel / S::ow / S::oh;
        int r = row * S::sh - S::ph + tap / S::kw * S::dh, q = column * S::sw - S::pw + tap % S::kw * S::dw;
        if (r < 0 || r >= S::h || q < 0 || q >= S::w) continue;
        Pack<1> v = load<1>(x, ((image * S::h + r) * S::w + q) * S::c + channel);
        sum += before.template apply<1>(v, channel).v[0] * g[pixel * S::o + o];
      }
      df[i] = (float)sum;
    }
  }
};
