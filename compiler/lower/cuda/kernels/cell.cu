// BatchNorm in recurrent cells, with what comes before and after it in one launch: states have few rows, so that a block holds
// all rows of some channels, a thread every 256th row of them, from the first pass over memory to the last.
// S: rows, channels, V (channels of a block), eps.

// column_sum is the sum of what the threads of a block bring, to all of them.
template <int V> __device__ inline Pack<V> column_sum(const Pack<V>& own) {
  constexpr int Warps = Threads / 32;
  auto room = shared<float>(0, Warps * V);
  __syncthreads(); // who has called it before has read the room
  for (int v = 0; v < V; v++) {
    float sum = warp_sum(own.v[v]);
    if (thread() % 32 == 0) room[thread() / 32 * V + v] = sum;
  }
  __syncthreads();
  Pack<V> total = zero<V>();
  for (int w = 0; w < Warps; w++)
    for (int v = 0; v < V; v++) total.v[v] += room[w * V + v];
  return total;
}

// HighwayNorm: a node, its statistics, the normalised node and, if S::masked, that times a mask (operations highway →
// batch_stats → batch_norm → mul). S: also those of Highway.
template <class S> struct HighwayNorm {
  In<float> weights;
  In<float> product[S::terms], state[S::terms];
  In<float> mask;
  Out<float> y, mean, variance, normed, dropped;
  int edge[S::terms], from[S::terms], width[S::terms];

  __device__ void run(int block) const {
    constexpr int V = S::V, Rows = ceiling(S::rows, Threads);
    int channel = block * V;
    Pack<V> x[Rows], sum = zero<V>(), squares = zero<V>();
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread();
      if (row >= S::rows) continue;
      x[r] = highway_node<S>(*this, row, channel);
      store<V>(y, row * S::channels + channel, x[r]);
      for (int v = 0; v < V; v++) sum.v[v] += x[r].v[v];
    }
    Pack<V> center = column_sum(sum), factor;
    for (int v = 0; v < V; v++) center.v[v] /= S::rows;
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      if (r * Threads + thread() >= S::rows) continue;
      for (int v = 0; v < V; v++) {
        x[r].v[v] -= center.v[v];
        squares.v[v] += x[r].v[v] * x[r].v[v];
      }
    }
    squares = column_sum(squares);
    for (int v = 0; v < V; v++) {
      squares.v[v] /= S::rows;
      factor.v[v] = (float)(1 / sqrt((double)squares.v[v] + S::eps));
    }
    if (thread() == 0) {
      store<V>(mean, channel, center);
      store<V>(variance, channel, squares);
    }
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread(), i = row * S::channels + channel;
      if (row >= S::rows) continue;
      for (int v = 0; v < V; v++) x[r].v[v] *= factor.v[v];
      store<V>(normed, i, x[r]);
      if constexpr (S::masked) {
        Pack<V> m = load<V>(mask, i);
        for (int v = 0; v < V; v++) x[r].v[v] *= m.v[v];
        store<V>(dropped, i, x[r]);
      }
    }
  }
};

// NormGrad: from the cotangent of a normalised value to that of the value x before (operations batch_norm_sums →
// batch_norm_input_grad); the cotangent is S::apply of g, a tree of pointwise operations. S: also inputs (of apply).
template <class S> struct NormGrad {
  In<float> g[S::inputs];
  In<float> x, mean, variance;
  Out<float> dx;

  __device__ void run(int block) const {
    constexpr int V = S::V, Rows = ceiling(S::rows, Threads);
    int channel = block * V;
    Pack<V> d[Rows], c[Rows], center = load<V>(mean, channel), sum = zero<V>(), along = zero<V>();
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread(), i = row * S::channels + channel;
      if (row >= S::rows) continue;
      c[r] = load<V>(x, i);
      d[r] = cotangent(i);
      for (int v = 0; v < V; v++) {
        c[r].v[v] -= center.v[v];
        sum.v[v] += d[r].v[v];
        along.v[v] += d[r].v[v] * c[r].v[v];
      }
    }
    sum = column_sum(sum);
    along = column_sum(along);
    Pack<V> inverse = load<V>(variance, channel);
    for (int v = 0; v < V; v++) {
      double square = 1 / ((double)inverse.v[v] + S::eps);
      inverse.v[v] = (float)sqrt(square);
      along.v[v] = (float)(square * along.v[v] / S::rows);
      sum.v[v] /= S::rows;
    }
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread();
      if (row >= S::rows) continue;
      for (int v = 0; v < V; v++) d[r].v[v] = inverse.v[v] * (d[r].v[v] - sum.v[v] - along.v[v] * c[r].v[v]);
      store<V>(dx, row * S::channels + channel, d[r]);
    }
  }

  __device__ inline Pack<S::V> cotangent(int i) const {
    Pack<S::V> from[S::inputs], out;
    for (int k = 0; k < S::inputs; k++) from[k] = S::scalar(k) ? zero<S::V>() : load<S::V>(g[k], i);
    for (int v = 0; v < S::V; v++) {
      float a[S::inputs];
      for (int k = 0; k < S::inputs; k++) a[k] = S::scalar(k) ? g[k][0] : from[k].v[v];
      out.v[v] = S::apply(a);
    }
    return out;
  }
};
