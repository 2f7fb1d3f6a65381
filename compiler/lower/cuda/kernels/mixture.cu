// WeightedSum: y = Σ weights[select[i]]·x[i], where a term may be normalised first (operation weighted_sum, group
// mixture). norm(i) is the position of the term's statistics, or -1; select[i] is -1 for weight one. Several rows a thread, so that the factors of its
// channels are computed once for all of them.
// S: those of Rows, terms, norms, batch (rows at a time), norm(i), eps(i).
template <class S> struct WeightedSum {
  In<float> weights;
  In<typename S::Image> x[S::terms];
  In<float> mean[larger(1, S::norms)], variance[larger(1, S::norms)];
  Out<typename S::Image> y;
  int select[S::terms];

  __device__ void run(int block) const {
    Rows<S> at(block);
    for (int row = at.row; row < S::rows; row += at.step * S::batch) {
      Pack<S::V> sum[S::batch];
      for (int b = 0; b < S::batch; b++) sum[b] = zero<S::V>();
#pragma unroll
      for (int i = 0; i < S::terms; i++) {
        float weight = select[i] < 0 ? 1.0f : weights[larger(0, select[i])], center[S::V], factor[S::V];
        for (int v = 0; v < S::V; v++) {
          center[v] = 0;
          factor[v] = weight;
          if (S::norm(i) >= 0) {
            center[v] = mean[larger(0, S::norm(i))][at.channel + v];
            factor[v] = weight * rsqrtf(variance[larger(0, S::norm(i))][at.channel + v] + S::eps(i));
          }
        }
#pragma unroll
        for (int b = 0; b < S::batch; b++) {
          int r = row + b * at.step;
          if (r >= S::rows) continue;
          Pack<S::V> a = load<S::V>(x[i], r * S::channels + at.channel);
          for (int v = 0; v < S::V; v++) sum[b].v[v] += (a.v[v] - center[v]) * factor[v];
        }
      }
#pragma unroll
      for (int b = 0; b < S::batch; b++) {
        int r = row + b * at.step;
        if (r < S::rows) store<S::V>(y, r * S::channels + at.channel, sum[b]);
      }
    }
  }
};

// WeightedSumWeightGrad: dw[select[i]] = Σ ⟨g, x[i]⟩, the others zero, plus before (operation weighted_sum_weight_grad;
// many terms are several launches). S: those of Columns with channels 1, terms, pack (elements of a row), weights,
// more (before counts).
template <class S> struct WeightedSumWeightGrad {
  static constexpr int Values = S::terms, Batch = 1;
  typedef float Sum, Part;
  struct Row {
    Pack<S::pack> g, x[S::terms];
  };
  In<typename S::Image> g, x[S::terms];
  In<float> before;
  Out<float> dw, partial;
  int select[S::terms];
  int counter, blocks;

  __device__ inline Row read(int, int row, int) const {
    Row r;
    r.g = load<S::pack>(g, row * S::pack);
#pragma unroll
    for (int i = 0; i < S::terms; i++) r.x[i] = load<S::pack>(x[i], row * S::pack);
    return r;
  }
  __device__ inline void add(float (&sums)[S::terms][1], const Row& r, int) const {
#pragma unroll
    for (int i = 0; i < S::terms; i++)
      for (int v = 0; v < S::pack; v++) sums[i][0] += r.g.v[v] * r.x[i].v[v];
  }
  template <class F> __device__ inline void finish(F total, int, int w) const {
    double sum = 0;
    if constexpr (S::more) sum = before[w];
    for (int i = 0; i < S::terms; i++)
      if (select[i] == w) sum += total(i);
    dw[w] = (float)sum;
  }
  __device__ void run(int block) const { Columns<S, WeightedSumWeightGrad, S::weights>::run(*this, block); }
};
