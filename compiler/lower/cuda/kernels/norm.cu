// BatchNorm sees x as rows by channels: images channels last, or matrices.

// BatchStats: mean and biased variance of every channel (operation batch_stats). S: those of Columns with outer 1.
// The sums are double, so that E[x²] - E[x]² keeps all the digits of float.
template <class S> struct BatchStats {
  static constexpr int Values = 2, Batch = 8;
  typedef double Sum, Part;
  typedef Pack<S::V> Row;
  In<typename S::Image> x;
  Out<float> mean, variance;
  Out<double> partial;
  int counter, blocks;

  __device__ inline Row read(int, int row, int channel) const { return load<S::V>(x, row * S::channels + channel); }
  __device__ inline void add(double (&sums)[2][S::V], const Row& a, int) const {
    for (int v = 0; v < S::V; v++) {
      sums[0][v] += a.v[v];
      sums[1][v] += (double)a.v[v] * a.v[v];
    }
  }
  template <class F> __device__ inline void finish(F total, int, int channel) const {
    double m = total(0) / S::rows, s = total(1) / S::rows - m * m;
    mean[channel] = (float)m;
    variance[channel] = (float)(s > 0 ? s : 0);
  }
  __device__ void run(int block) const { Columns<S, BatchStats>::run(*this, block); }
};

// BatchNormSums: Σg and Σg·x̂ of every channel (operation batch_norm_sums). S: those of Columns, eps.
template <class S> struct BatchNormSums {
  static constexpr int Values = 2, Batch = 4;
  typedef double Sum;
  typedef float Part;
  struct Row {
    Pack<S::V> g, x;
  };
  In<typename S::Image> g, x;
  In<float> mean, variance;
  Out<float> sum, sum_x;
  Out<double> partial;
  int counter, blocks;

  __device__ inline Row read(int, int row, int channel) const {
    int i = row * S::channels + channel;
    return Row{load<S::V>(g, i), load<S::V>(x, i)};
  }
  __device__ inline void add(float (&sums)[2][S::V], const Row& r, int channel) const {
    for (int v = 0; v < S::V; v++) {
      sums[0][v] += r.g.v[v];
      sums[1][v] += r.g.v[v] * (r.x.v[v] - mean[channel + v]);
    }
  }
  template <class F> __device__ inline void finish(F total, int, int channel) const {
    sum[channel] = (float)total(0);
    sum_x[channel] = (float)(total(1) / sqrt((double)variance[channel] + S::eps));
  }
  __device__ void run(int block) const { Columns<S, BatchNormSums>::run(*this, block); }
};

// The kernels below give a thread a pack of channels and some rows, so that what depends on the channel alone is
// computed once. S: rows, channels, V, lanes, blocks.
template <class S> struct Rows {
  int row, step, channel;
  __device__ inline Rows(int block) {
    constexpr int Packs = S::channels / S::V, Tiles = ceiling(Packs, S::lanes), RowLanes = Threads / S::lanes;
    int tile = block % Tiles, pack = tile * S::lanes + thread() % S::lanes, row_lane = thread() / S::lanes;
    channel = pack * S::V;
    row = row_lane < RowLanes && pack < Packs ? block / Tiles * RowLanes + row_lane : S::rows;
    step = S::blocks / Tiles * RowLanes;
  }
};

// BatchNorm: y = (x-mean)/sqrt(var+eps)·gamma + beta, with ReLU after it if S::relu (operation batch_norm, group
// norm_relu). S: those of Rows, eps, affine, relu.
template <class S> struct BatchNorm {
  In<typename S::Image> x;
  In<float> mean, variance, gamma, beta;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    Rows<S> at(block);
    if (at.row >= S::rows) return;
    float center[S::V], factor[S::V], shift[S::V];
    for (int v = 0; v < S::V; v++) {
      int c = at.channel + v;
      center[v] = mean[c];
      factor[v] = (float)inverse_root(variance[c] + S::eps);
      shift[v] = 0;
      if constexpr (S::affine) {
        factor[v] *= gamma[c];
        shift[v] = beta[c];
      }
    }
    for (int row = at.row; row < S::rows; row += at.step) {
      int i = row * S::channels + at.channel;
      Pack<S::V> a = load<S::V>(x, i);
      for (int v = 0; v < S::V; v++) {
        a.v[v] = (a.v[v] - center[v]) * factor[v] + shift[v];
        if constexpr (S::relu) a.v[v] = fmaxf(a.v[v], 0.0f);
      }
      store<S::V>(y, i, a);
    }
  }
};

// BatchNormInputGrad: dx = gamma/sqrt(var+eps)·(g - Σg/n - x̂·Σg·x̂/n), times weights[scale] if S::scaled
// (operation batch_norm_input_grad, group scaled). S: those of Rows, eps, affine, scaled.
template <class S> struct BatchNormInputGrad {
  In<typename S::Image> g, x;
  In<float> mean, variance, sum, sum_x, gamma, weights;
  Out<typename S::Image> dx;
  int scale;

  __device__ void run(int block) const {
    Rows<S> at(block);
    if (at.row >= S::rows) return;
    float center[S::V], a[S::V], b[S::V], d[S::V];
    for (int v = 0; v < S::V; v++) {
      int c = at.channel + v;
      double inverse = inverse_root(variance[c] + S::eps), factor = inverse; // over few rows, what cancels is most of it
      if constexpr (S::affine) factor *= gamma[c];
      if constexpr (S::scaled) factor *= weights[scale];
      center[v] = mean[c];
      a[v] = (float)factor;
      b[v] = (float)(-factor * inverse * sum_x[c] / S::rows);
      d[v] = (float)(-factor * sum[c] / S::rows);
    }
    for (int row = at.row; row < S::rows; row += at.step) {
      int i = row * S::channels + at.channel;
      Pack<S::V> p = load<S::V>(g, i), q = load<S::V>(x, i);
      for (int v = 0; v < S::V; v++) p.v[v] = a[v] * p.v[v] + b[v] * (q.v[v] - center[v]) + d[v];
      store<S::V>(dx, i, p);
    }
  }
};
