// Staged is a thread's share of a tile [BK][Extent] of factors on its way from memory to shared memory: V neighbours at once,
// along k or along the other axis, x, of which Limit are inside.
template <int Extent, int Limit, int BK, bool AlongK, int V> struct Staged {
  static constexpr int Packs = Extent * BK / V, Count = ceiling(Packs, Threads);
  // Neighbouring threads take packs of 32 bytes along k, then go along x: whole sectors of memory, and different banks.
  static constexpr int Side = smaller(BK / V, 8 / V);
  Pack<V> packs[Count];

  __device__ static inline int x(int i) { return AlongK ? i / Side % Extent : i % (Extent / V) * V; }
  __device__ static inline int k(int i) { return AlongK ? (i / Side / Extent * Side + i % Side) * V : i / (Extent / V); }
  __device__ static inline bool inside(int i, int x0, int k0, int to) { return i < Packs && x0 + x(i) < Limit && k0 + k(i) < to; }

  // fetch begins to load get(x, k) where that is inside.
  template <class F> __device__ inline void fetch(int x0, int k0, int to, F get) {
#pragma unroll
    for (int c = 0; c < Count; c++) {
      int i = c * Threads + thread();
      if (inside(i, x0, k0, to)) packs[c] = get(x0 + x(i), k0 + k(i));
    }
  }

  // place stores what was loaded, made ready, and zero outside.
  template <int Stride, class T, class F> __device__ inline void place(T tile, int x0, int k0, int to, F ready) const {
#pragma unroll
    for (int c = 0; c < Count; c++) {
      int i = c * Threads + thread();
      if (i >= Packs) continue;
      Pack<V> p = zero<V>();
      if (inside(i, x0, k0, to)) p = ready(packs[c], x0 + x(i), k0 + k(i));
      if constexpr (AlongK) {
        for (int v = 0; v < V; v++) tile[(k(i) + v) * Stride + x(i)] = p.v[v];
      } else {
        store<V>(tile, k(i) * Stride + x(i), p);
      }
    }
  }
};

// Product computes tiles of c[m][n] = Σ a(m, k)·b(k, n) for whatever a and b are: matrices, or images seen as matrices by a
// convolution. A block computes BM by BN results, BK products deep at a time, each thread 4 by 4 of them, while the factors of
// the next BK are on their way; where a tile has no more than 2048 results, several groups of threads share its products and
// their sums are added in order. Threads that are left over only load. With more than one split the products are divided between blocks too. The last block of
// a team of splits adds them in order, the last of a tile's teams adds the teams.
//
// S: m, n, k, bm, bn, bk, splits; tf32 (on tensor cores, where a tile has 4096 results); a_along_k, b_along_k: neighbours in
// memory are neighbours along k, else along m or n; va, vb: how many of them are loaded at once. P: a<V>(m, k) and b<V>(k, n),
// V neighbours from a position inside, as they are in memory; ready<V>(pack, m, k), what a is to be multiplied with;
// put<V>(m, n, pack); fields partial [splits][tiles][bm·bn] and counter.
template <class S, class P> struct Product {
  static constexpr int TileM = ceiling(S::m, S::bm), TileN = ceiling(S::n, S::bn), Tiles = TileM * TileN;
  static constexpr int Sub = (S::bm / 4) * (S::bn / 4), Groups = Threads / Sub, Depth = S::bk / Groups;
  // Rows apart in memory banks, for what a warp reads at once, and aligned to 16 bytes.
  static constexpr int StrideA = S::bm + (S::tf32 || S::bm % 8 != 0 ? 8 : 4), StrideB = S::bn + (S::tf32 || S::bn % 8 != 0 ? 8 : 4);
  static constexpr int RoomA = 0, RoomB = 4 * S::bk * StrideA;   // bytes
  static constexpr int Team = 16, Teams = ceiling(S::splits, Team);
  typedef Staged<S::bm, S::m, S::bk, S::a_along_k, S::va> A;
  typedef Staged<S::bn, S::n, S::bk, S::b_along_k, S::vb> B;

  __device__ static inline void run(const P& p, int block) {
    int tile = block % Tiles, split = block / Tiles, m0 = tile / TileN * S::bm, n0 = tile % TileN * S::bn;
    auto ta = shared<float>(RoomA, S::bk * StrideA);
    auto tb = shared<float>(RoomB, S::bk * StrideB);
    int group = thread() / Sub, local = thread() % Sub;
    float sum[4][4] = {}; // of four by four results; with S::tf32, of four tiles of multiply_tf32
    // Splits are whole steps of bk.
    constexpr int Steps = ceiling(S::k, S::bk);
    int from = (int)((i64)Steps * split / S::splits) * S::bk, to = smaller(S::k, (int)((i64)Steps * (split + 1) / S::splits) * S::bk);
    A a;
    B b;
    auto fetch = [&](int k0) {
      a.fetch(m0, k0, to, [&](int m, int k) { return p.template a<S::va>(m, k); });
      b.fetch(n0, k0, to, [&](int n, int k) { return p.template b<S::vb>(k, n); });
    };
    fetch(from);
    for (int k0 = from; k0 < to; k0 += S::bk) {
      a.template place<StrideA>(ta, m0, k0, to, [&](const Pack<S::va>& v, int m, int k) { return p.template ready<S::va>(v, m, k); });
      b.template place<StrideB>(tb, n0, k0, to, [](const Pack<S::vb>& v, int, int) { return v; });
      __syncthreads();
      fetch(k0 + S::bk);
      if constexpr (S::tf32) {
        multiply_on_tensor_cores(sum, ta, tb);
      } else if (group < Groups) {
        multiply(sum, ta, tb, group * Depth, local);
      }
      __syncthreads();
    }
    if constexpr (Groups > 1) add_groups(sum, group, local);
    if constexpr (S::splits == 1) {
      if (group != 0) return;
      for (int i = 0; i < 4; i++) put(p, m0, n0, local, i, sum[i]);
    } else {
      if (group == 0) {
        for (int i = 0; i < 4; i++) store4(p.partial, at(split, tile, i * Sub + local), make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]));
      }
      add_splits(p, tile, split / Team, m0, n0);
    }
  }

  // The place in the tile of element (i, j) of the sums of thread local of a group.
  __device__ static inline int row(int local, int i, int j) {
    if constexpr (!S::tf32) return local / (S::bn / 4) * 4 + i;
    return (local / 32 * 4 + i) / (S::bn / 8) * 16 + local % 32 / 4 + j / 2 * 8;
  }
  __device__ static inline int column(int local, int i, int j) {
    if constexpr (!S::tf32) return local % (S::bn / 4) * 4 + j;
    return (local / 32 * 4 + i) % (S::bn / 8) * 8 + local % 4 * 2 + j % 2;
  }

  // put hands four sums of a thread on, at once where they are neighbours.
  __device__ static inline void put(const P& p, int m0, int n0, int local, int i, const float (&sum)[4]) {
    if constexpr (!S::tf32 && S::n % 4 == 0) {
      int m = m0 + row(local, i, 0), n = n0 + column(local, i, 0);
      if (m < S::m && n < S::n) p.template put<4>(m, n, Pack<4>{sum[0], sum[1], sum[2], sum[3]});
    } else {
      for (int j = 0; j < 4; j++) {
        int m = m0 + row(local, i, j), n = n0 + column(local, i, j);
        if (m < S::m && n < S::n) p.template put<1>(m, n, Pack<1>{sum[j]});
      }
    }
  }

  // multiply adds the products of a step that are a group's.
  template <class T> __device__ static inline void multiply(float (&sum)[4][4], T ta, T tb, int first, int local) {
    constexpr int Run = smaller(Depth, 16);
    int tm = row(local, 0, 0), tn = column(local, 0, 0);
    for (int k0 = first; k0 < first + Depth; k0 += Run) {
      float part[4][4] = {}; // sums of few products, added to sums of many: half the digits lost
#pragma unroll
      for (int k = 0; k < Run; k++) {
        float4 a = load4(ta, (k0 + k) * StrideA + tm), b = load4(tb, (k0 + k) * StrideB + tn);
        float av[4] = {a.x, a.y, a.z, a.w}, bv[4] = {b.x, b.y, b.z, b.w};
        for (int i = 0; i < 4; i++)
          for (int j = 0; j < 4; j++) part[i][j] += av[i] * bv[j];
      }
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sum[i][j] += part[i][j];
    }
  }

  // multiply_on_tensor_cores does the same: of the 32 tiles of 16 by 8 results, each of the 8 warps does four.
  template <class T> __device__ static inline void multiply_on_tensor_cores(float (&sum)[4][4], T ta, T tb) {
    int g = thread() % 32 / 4, t = thread() % 4;
#pragma unroll 4
    for (int k = 0; k < S::bk; k += 8) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int tile = thread() / 32 * 4 + i, m = tile / (S::bn / 8) * 16 + g, n = tile % (S::bn / 8) * 8 + g;
        float a[4] = {ta[(k + t) * StrideA + m], ta[(k + t) * StrideA + m + 8], ta[(k + t + 4) * StrideA + m], ta[(k + t + 4) * StrideA + m + 8]};
        float b[2] = {tb[(k + t) * StrideB + n], tb[(k + t + 4) * StrideB + n]};
        multiply_split(sum[i], Split<4, false>(a), Split<2, false>(b));
      }
    }
  }

  // add_groups leaves the sums of all groups with the first.
  __device__ static inline void add_groups(float (&sum)[4][4], int group, int local) {
    auto room = shared<float>(0, Threads * 16);
    for (int i = 0; i < 4; i++) store4(room, (i * Threads + thread()) * 4, make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]));
    __syncthreads();
    if (group != 0) return;
    for (int i = 0; i < 16; i++) {
      double total = 0;
      for (int g = 0; g < Groups; g++) total += (double)room[(i / 4 * Threads + g * Sub + local) * 4 + i % 4];
      sum[i / 4][i % 4] = (float)total;
    }
  }

  // at is where four sums of a split are in partial.
  __device__ static inline int at(int split, int tile, int four) { return ((split * Tiles + tile) * 4 * Sub + four) * 4; }

  // add_splits adds what the splits of a tile have stored, once the last of them has: first team by team.
  __device__ static inline void add_splits(const P& p, int tile, int team, int m0, int n0) {
    if constexpr (Teams > 1) {
      int first = team * Team, count = smaller(Team, S::splits - first);
      if (!last_block(p.counter + tile * (Teams + 1) + team, count)) return;
      for (int four = thread(); four < 4 * Sub; four += Threads) {
        Pack<4> total = total_of<Team>(p, tile, four, first, 1, count);
        store<4>(p.partial, at(first, tile, four), total);
      }
      if (!last_block(p.counter + tile * (Teams + 1) + Teams, Teams)) return;
    } else {
      if (!last_block(p.counter + tile, S::splits)) return;
    }
    constexpr int Step = Teams > 1 ? Team : 1, Parts = Teams > 1 ? Teams : S::splits;
    for (int four = thread(); four < 4 * Sub; four += Threads) {
      Pack<4> total = total_of<Parts>(p, tile, four, 0, Step, Parts);
      put(p, m0, n0, four % Sub, four / Sub, total.v);
    }
  }

  template <int Most> __device__ static inline Pack<4> total_of(const P& p, int tile, int four, int first, int step, int count) {
    double total[4] = {};
#pragma unroll
    for (int s = 0; s < Most; s++) {
      if (s >= count) continue;
      float4 v = fresh4(p.partial, at(first + s * step, tile, four));
      total[0] += v.x, total[1] += v.y, total[2] += v.z, total[3] += v.w;
    }
    return Pack<4>{(float)total[0], (float)total[1], (float)total[2], (float)total[3]};
  }
};

// AsItIs is a product whose factors are multiplied as they are in memory.
struct AsItIs {
  template <int V> __device__ inline Pack<V> ready(const Pack<V>& v, int, int) const { return v; }
};

// MatMul: z = x·y, either of them transposed (operation matmul), plus addend if S::added: a matrix like z (1), or one row for
// all of its rows (2). S: those of Product, transpose_a, transpose_b.
template <class S> struct MatMul : AsItIs {
  In<float> x, y, addend;
  Out<float> z, partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const { return load<V>(x, S::transpose_a ? k * S::m + m : m * S::k + k); }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(y, S::transpose_b ? n * S::k + k : k * S::n + n); }
  template <int V> __device__ inline void put(int m, int n, Pack<V> v) const {
    if constexpr (S::added != 0) {
      Pack<V> a = load<V>(addend, S::added == 1 ? m * S::n + n : n);
      for (int i = 0; i < V; i++) v.v[i] += a.v[i];
    }
    store<V>(z, m * S::n + n, v);
  }
  __device__ void run(int block) const { Product<S, MatMul>::run(*this, block); }
};

// Convolutions without groups, as products. S: those of Product; images, h, w, c (of x), oh, ow, o (of y), kh, kw, sh, sw,
// dh, dw, ph, pw; same (a pointwise convolution whose pixels are those of x); prologue, eps. Images channels last, filters [KH][KW][C][O].

// Patches is x as a matrix: rows are pixels of y, columns taps times channels of x.
template <class S> struct Patches {
  // at is where element (pixel, j) is in x, or -1 outside of the images.
  static __device__ inline int at(int pixel, int j) {
    if constexpr (S::same) return pixel * S::c + j;
    int column = pixel % S::ow, row = pixel / S::ow % S::oh, image = pixel / S::ow / S::oh, channel = j % S::c, tap = j / S::c;
    int r = row * S::sh - S::ph + tap / S::kw * S::dh, q = column * S::sw - S::pw + tap % S::kw * S::dw;
    if (r < 0 || r >= S::h || q < 0 || q >= S::w) return -1;
    return ((image * S::h + r) * S::w + q) * S::c + channel;
  }
  template <int V, class T> static __device__ inline Pack<V> load(T x, int pixel, int j) {
    int i = at(pixel, j);
    return i < 0 ? zero<V>() : ::load<V>(x, i);
  }
  // ready applies the prologue, which does not make zero of zero, to what is inside.
  template <int V> static __device__ inline Pack<V> ready(const Prologue<S>& before, const Pack<V>& v, int pixel, int j) {
    if (S::prologue >= 2 && at(pixel, j) < 0) return v;
    return before.template apply<V>(v, j % S::c);
  }
};

// Convolution: rows are pixels of y, columns its channels, products taps times channels of x.
template <class S> struct Convolution {
  Prologue<S> before;
  In<typename S::Image> x;
  In<float> filter;
  Out<typename S::Image> y;
  Out<float> partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const { return Patches<S>::template load<V>(x, m, k); }
  template <int V> __device__ inline Pack<V> ready(const Pack<V>& v, int m, int k) const { return Patches<S>::template ready<V>(before, v, m, k); }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(filter, k * S::o + n); }
  template <int V> __device__ inline void put(int m, int n, const Pack<V>& v) const { store<V>(y, m * S::o + n, v); }
  __device__ void run(int block) const { Product<S, Convolution>::run(*this, block); }
};

// ConvolutionInputGrad: rows are pixels of x, columns its channels, products taps times channels of y. With S::apart, of a convolution of single pixels
// that skips others, rows are pixels of y, and each is the one of its stride's pixels of x that is not zero.
template <class S> struct ConvolutionInputGrad : AsItIs {
  In<typename S::Image> g;
  In<float> filter;
  Out<typename S::Image> dx;
  Out<float> partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const {
    if constexpr (S::same || S::apart) return load<V>(g, m * S::o + k);
    int column = m % S::w, row = m / S::w % S::h, image = m / S::w / S::h, channel = k % S::o, tap = k / S::o;
    int r = row + S::ph - tap / S::kw * S::dh, q = column + S::pw - tap % S::kw * S::dw;
    if (r < 0 || r % S::sh != 0 || r / S::sh >= S::oh || q < 0 || q % S::sw != 0 || q / S::sw >= S::ow) return zero<V>();
    return load<V>(g, ((image * S::oh + r / S::sh) * S::ow + q / S::sw) * S::o + channel);
  }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(filter, (k / S::o * S::c + n) * S::o + k % S::o); }
  template <int V> __device__ inline void put(int m, int n, const Pack<V>& v) const {
    if constexpr (S::apart) {
      int first = (m / S::ow * S::sh * S::w + m % S::ow * S::sw) * S::c + n; // images have oh·sh rows
#pragma unroll
      for (int row = 0; row < S::sh; row++)
        for (int column = 0; column < S::sw; column++) store<V>(dx, first + (row * S::w + column) * S::c, row == -S::ph && column == -S::pw ? v : zero<V>());
    } else {
      store<V>(dx, m * S::c + n, v);
    }
  }
  __device__ void run(int block) const { Product<S, ConvolutionInputGrad>::run(*this, block); }
};

// ConvolutionWeightGrad: rows are taps times channels of x, columns channels of y, products pixels of y.
template <class S> struct ConvolutionWeightGrad {
  Prologue<S> before;
  In<typename S::Image> x, g;
  Out<float> df, partial;
  int counter;

  template <int V> __device__ inline Pack<V> a(int m, int k) const { return Patches<S>::template load<V>(x, k, m); }
  template <int V> __device__ inline Pack<V> ready(const Pack<V>& v, int m, int k) const { return Patches<S>::template ready<V>(before, v, k, m); }
  template <int V> __device__ inline Pack<V> b(int k, int n) const { return load<V>(g, k * S::o + n); }
  template <int V> __device__ inline void put(int m, int n, const Pack<V>& v) const { store<V>(df, m * S::o + n, v); }
  __device__ void run(int block) const { Product<S, ConvolutionWeightGrad>::run(*this, block); }
};

// Grouped convolutions that are not depthwise, a thread for a result: no search space of DARTS has one, but any graph may.
// S: as Convolution, with groups; c and o are all channels.
template <class S> struct Grouped {
  static constexpr int C = S::c / S::groups, O = S::o / S::groups; // of a group
  Prologue<S> before;
  In<typename S::Image> x;
  In<float> filter;
  Out<typename S::Image> y;

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
  In<typename S::Image> g;
  In<float> filter;
  Out<typename S::Image> dx;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::images * S::h * S::w * S::c; i += S::blocks * Threads) {
      int channel = i % S::c, pixel = i / S::c, column = pixel % S::w, row = pixel / S::w % S::h, image = pixel / S::w / S::h;
      float sum = 0;
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
  In<typename S::Image> x, g;
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
