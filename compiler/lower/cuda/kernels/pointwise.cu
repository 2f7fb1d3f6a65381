// Pointwise: a convolution of single pixels at stride 1, or its way back: y[m][n] = Σ x[m][k]·w(k, n), where rows are pixels. A block makes 128 rows
// of bn results on tensor cores, 32 products deep at a time, while the factors of the next 32 are on their way.
//
// S: m, n, k, bn; turned: the weights are [k][n] in memory, else [n][k]; tf32; prologue, eps. k and n are multiples of 4, bn of 8.
template <class S> struct Pointwise {
  static constexpr int Rows = 128, Deep = 32, Stride = Deep + 8; // pairs that eight rows of a warp read at once are in different memory banks
  typedef typename S::Image Image;
  static constexpr int Tiles = S::bn / 8, TilesN = ceiling(S::n, S::bn), RowsAt = 0, WeightsAt = Rows * Stride * sizeof(Image); // bytes
  typedef Fragments<Image, !S::tf32> F;
  static constexpr int Packs = Rows * Deep / 4 / Threads, Singles = S::bn * Deep / Threads;
  Prologue<S> before;
  In<Image> x;
  In<float> weights;
  Out<Image> y;

  // Step is a thread's share of the factors of a step, on their way.
  struct Step {
    Pack<4> rows[Packs];
    float weights[Singles];
  };

  __device__ void run(int block) const {
    int m0 = block / TilesN * Rows, n0 = block % TilesN * S::bn, g = thread() % 32 / 4, t = thread() % 4, row = thread() / 32 * 16 + g;
    auto rows = shared<Image>(RowsAt, Rows * Stride);
    auto factors = shared<Image>(WeightsAt, S::bn * Stride);
    float sum[Tiles][4] = {};
    Step next;
    fetch(next, m0, n0, 0);
    for (int k0 = 0; k0 < S::k; k0 += Deep) {
      place(next, rows, factors, m0, n0, k0);
      __syncthreads();
      if (k0 + Deep < S::k) fetch(next, m0, n0, k0 + Deep);
      float part[Tiles][4] = {}; // tensor cores do not round sums to the nearest: few are added there
#pragma unroll
      for (int k = 0; k < Deep; k += F::Depth) {
        typename F::Left left = F::template left<Deep>(rows, (row - g) * Stride, Stride, k);
        typename F::Right right[Tiles];
        F::template right<Deep>(right, factors, Stride, 0, S::bn - 8, k);
#pragma unroll
        for (int i = 0; i < Tiles; i++) F::multiply(part[i], left, right[i]);
      }
      for (int i = 0; i < Tiles; i++)
        for (int j = 0; j < 4; j++) sum[i][j] += part[i][j];
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < Tiles; i++) {
      int n = n0 + 8 * i + 2 * t, m = m0 + row;
      if (n >= S::n) continue;
      if (m < S::m) store2(y, m * S::n + n, sum[i][0], sum[i][1]);
      if (m + 8 < S::m) store2(y, (m + 8) * S::n + n, sum[i][2], sum[i][3]);
    }
  }

  // The pack of a row, its first product, and the two places of a weight that a thread brings in turn i.
  __device__ static inline int pack_row(int i) { return i * (Threads / (Deep / 4)) + thread() / (Deep / 4); }
  __device__ static inline int pack_k() { return thread() % (Deep / 4) * 4; }
  __device__ static inline int weight(int i) { return i * Threads + thread(); }
  // Weights in rows of k are brought along k, turned ones eight along n by four along k: whole sectors of memory, and few lanes in one memory bank.
  __device__ static inline int weight_n(int i) { return S::turned ? weight(i) / 32 % Tiles * 8 + weight(i) % 8 : weight(i) / Deep; }
  __device__ static inline int weight_k(int i) { return S::turned ? weight(i) / 32 / Tiles * 4 + weight(i) / 8 % 4 : weight(i) % Deep; }

  __device__ inline void fetch(Step& s, int m0, int n0, int k0) const {
#pragma unroll
    for (int i = 0; i < Packs; i++) {
      int m = m0 + pack_row(i), k = k0 + pack_k();
      s.rows[i] = m < S::m && k < S::k ? load<4>(x, m * S::k + k) : zero<4>();
    }
#pragma unroll
    for (int i = 0; i < Singles; i++) {
      int n = n0 + weight_n(i), k = k0 + weight_k(i);
      s.weights[i] = n < S::n && k < S::k ? weights[S::turned ? k * S::n + n : n * S::k + k] : 0.0f;
    }
  }
  template <class T> __device__ inline void place(const Step& s, T rows, T factors, int m0, int n0, int k0) const {
#pragma unroll
    for (int i = 0; i < Packs; i++) {
      bool there = m0 + pack_row(i) < S::m && k0 + pack_k() < S::k;
      store<4>(rows, pack_row(i) * Stride + pack_k(), S::prologue > 0 && there ? before.template apply<4>(s.rows[i], k0 + pack_k()) : s.rows[i]);
    }
#pragma unroll
    for (int i = 0; i < Singles; i++) factors[weight_n(i) * Stride + weight_k(i)] = s.weights[i];
  }
};

// PointwiseWeightGrad: the gradient of its weights: partial [chunks][k][n] sums to Σ x[m][k]·g[m][n]. A block takes bk by bn of them and the pixels of a chunk, 64 at a
// time, while the next 64 are on their way.
//
// S: m, n, k, bn, bk, chunks; tf32; prologue, eps. k, n, bk and bn are multiples of 4.
template <class S> struct PointwiseWeightGrad {
  typedef typename S::Image Image;
  static constexpr int Rows = 64, TilesK = ceiling(S::k, S::bk), TilesN = ceiling(S::n, S::bn), FactorsAt = Rows * spread(S::bk) * sizeof(Image); // bytes
  typedef Outer<Image, Rows, S::bk, S::bn, !S::tf32> A;
  Prologue<S> before;
  In<Image> x, g;
  Out<float> partial;

  // Side is a thread's share of Rows by Columns factors, on their way: a pack of four in every turn.
  template <int Columns> struct Side {
    static constexpr int Fours = Columns / 4, Turns = ceiling(Rows * Fours, Threads);
    Pack<4> packs[Turns];

    __device__ static inline int row(int i) { return (i * Threads + thread()) / Fours; }
    __device__ static inline int column(int i) { return (i * Threads + thread()) % Fours * 4; }
    template <class T> __device__ inline void fetch(T from, int m0, int to, int first, int columns) {
#pragma unroll
      for (int i = 0; i < Turns; i++)
        packs[i] = row(i) < Rows && m0 + row(i) < to && first + column(i) < columns ? load<4>(from, (m0 + row(i)) * columns + first + column(i)) : zero<4>();
    }
    template <class T, class F> __device__ inline void place(T tile, int m0, int to, int first, int columns, F ready) const {
#pragma unroll
      for (int i = 0; i < Turns; i++)
        if (row(i) < Rows) store<4>(tile, row(i) * spread(Columns) + column(i), m0 + row(i) < to && first + column(i) < columns ? ready(packs[i], first + column(i)) : packs[i]);
    }
  };

  __device__ void run(int block) const {
    int chunk = block / (TilesK * TilesN), k0 = block / TilesN % TilesK * S::bk, n0 = block % TilesN * S::bn;
    constexpr int Steps = ceiling(S::m, Rows);
    int from = (int)((i64)Steps * chunk / S::chunks) * Rows, to = smaller(S::m, (int)((i64)Steps * (chunk + 1) / S::chunks) * Rows);
    auto rows = shared<Image>(0, Rows * spread(S::bk));
    auto factors = shared<Image>(FactorsAt, Rows * spread(S::bn));
    typename A::Totals totals;
    Side<S::bk> left;
    Side<S::bn> right;
    left.fetch(x, from, to, k0, S::k);
    right.fetch(g, from, to, n0, S::n);
    for (int m = from; m < to; m += Rows) {
      left.place(rows, m, to, k0, S::k, [&](const Pack<4>& v, int channel) { return before.template apply<4>(v, channel); });
      right.place(factors, m, to, n0, S::n, [](const Pack<4>& v, int) { return v; });
      __syncthreads();
      if (m + Rows < to) {
        left.fetch(x, m + Rows, to, k0, S::k);
        right.fetch(g, m + Rows, to, n0, S::n);
      }
      A::add(totals, rows, factors);
      __syncthreads();
    }
    A::finish(totals, [&](int k, int n, float total) {
      if (k0 + k < S::k && n0 + n < S::n) partial[(chunk * S::k + k0 + k) * S::n + n0 + n] = total;
    });
  }
};
